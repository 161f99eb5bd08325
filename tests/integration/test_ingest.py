"""ingest on real Kafka and PostgreSQL, from request to event."""

import asyncio
from operator import attrgetter
from typing import Any

from cli.environment import Ports
from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Tenant
from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, MessageAccepted, RecipientType
from kernel.content import open_store
from kernel.crypto import SecretKeyring, derived_key, unseal
from mail import verp
from tests.support.ingest import DOMAIN, IngestHarness, email
from tests.support.polling import until
from tests.support.stack import shared_harness_fixture

harness = shared_harness_fixture(IngestHarness)


async def test_an_accepted_email_is_encrypted_stored_and_published(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up()
        response = await harness.send(
            to=["a@one.example", "Bé <b@two.example>"], bcc="c@three.example",
            tags=[{"name": "kind", "value": "order"}], metadata={"order": "17"},
            attachments=[{"filename": "bill.txt", "content": "MTcg4oKs"}],
        )  # fmt: skip
        assert response.status == 202
        assert response.json["status"] == "queued"
        assert response.headers["location"] == f"/v1/emails/{response.json['id']}"
        accepted = await harness.accepted(response.json["id"], 3)
        contexts = [one.context for one in accepted]
        assert {one.recipient for one in contexts} == {
            "a@one.example", "b@two.example", "c@three.example"
        }  # fmt: skip
        assert all(one.test and one.tenant_id == harness.tenant_id for one in contexts)
        assert list(accepted[0].to) == ["a@one.example", "Bé <b@two.example>"]
        assert dict(accepted[0].tags) == {"kind": "order"}
        content = await content_of(harness, accepted[0])
        assert content.attachments[0].content == "17 €".encode()
        assert content.subject == "Your order"
        key = derived_key(harness.secret_key, "return path")
        for one in contexts:
            named = verp.parse_return_path(one.return_path, keys=(key,))
            assert str(named) == one.message_id


async def content_of(harness: IngestHarness, accepted: MessageAccepted) -> Content:
    context = accepted.context
    [tenant] = [
        one for one in await harness.read_events(Tenant) if one.tenant_id == context.tenant_id
    ]
    store = open_store(harness.settings().content_store_url)
    [sealed] = await store.get_many([context.content_ref])
    assert isinstance(sealed, bytes)
    assert len(sealed) == context.content_bytes
    key = SecretKeyring([harness.secret_key]).decrypt(tenant.content_key)
    plain = unseal(key, sealed, f"{context.tenant_id}/{context.email_id}".encode())
    return Content.FromString(plain)


async def test_an_email_can_be_read_right_after_the_post_while_router_is_unavailable(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up()
        sent = await harness.send(cc="Copy <c@x.example>", scheduled_at="in 1 hour")
        assert sent.json["status"] == "scheduled"
        # resend-python sends a body with GET
        got = await harness.request("GET", f"/v1/emails/{sent.json['id']}", {})
        assert got.status == 200
        assert got.json["unavailable"] == ["router", "events"]
        assert got.json["last_event"] == "scheduled"
        assert got.json["cc"] == ["Copy <c@x.example>"]
        assert got.json["text"] == "It is on its way."
        assert [one["recipient"] for one in got.json["recipients"]] == [
            "delivered@obm-sandbox.net", "c@x.example"
        ]  # fmt: skip


async def test_an_email_of_another_tenant_is_not_found(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up()
        sent = await harness.send()
        other_key = await harness.sign_up(domain="other.obm-sandbox.net")
        for path in ("", "/events"):
            foreign = await harness.request(
                "GET", f"/v1/emails/{sent.json['id']}{path}", key=other_key
            )
            missing = await harness.request(
                "GET", f"/v1/emails/01890000-0000-7000-8000-000000000000{path}", key=other_key
            )
            assert foreign.status == missing.status == 404
            assert foreign.json["detail"] == missing.json["detail"]


async def test_an_idempotency_key_replays_the_response_and_refuses_another_request(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up()
        key = {"Idempotency-Key": "order-17"}
        first = await harness.send(http_headers=key)
        again = await harness.send(http_headers=key)
        other = await harness.send(http_headers=key, subject="Another order")
        assert first.status == again.status == 202
        assert first.raw == again.raw
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert (other.status, other.json["name"]) == (409, "invalid_idempotent_request")
        invalid = await harness.send(http_headers={"Idempotency-Key": "refused"}, to="nobody")
        assert invalid.status == 422
        assert (await harness.send(http_headers={"Idempotency-Key": "refused"})).status == 202


async def test_an_invalid_email_is_refused_with_a_name_and_a_pointer(
    harness: IngestHarness,
) -> None:
    cases: list[tuple[dict[str, Any], int, str, str]] = [
        ({"to": None}, 422, "missing_required_field", "#/to"),
        ({"schedule_at": "tomorrow"}, 422, "validation_error", "#/schedule_at"),
        ({"to": ["ok@x.example", "no"]}, 422, "validation_error", "#/to/1"),
        ({"subject": "a\r\nBcc: b@x.example"}, 422, "validation_error", "#/subject"),
        ({"headers": {"Bcc": "b@x.example"}}, 422, "validation_error", "#/headers/Bcc"),
        ({"headers": {"X-A": "b\nc"}}, 422, "validation_error", "#/headers/X-A"),
        ({"from": "me@not-mine.example"}, 403, "invalid_from_address", "#/from"),
        ({"scheduled_at": "soon"}, 422, "validation_error", "#/scheduled_at"),
        ({"scheduled_at": "in 31 days"}, 422, "validation_error", "#/scheduled_at"),
        ({"text": None}, 422, "missing_required_field", "#/text"),
        ({"attachments": [{"filename": "a", "content": "%%"}]}, 422, "invalid_attachment",
         "#/attachments/0"),
        ({"to": [f"u{n}@x.example" for n in range(51)]}, 422, "validation_error", "#/to"),
    ]  # fmt: skip

    async with harness.shared():
        await harness.sign_up()
        for changes, status, name, pointer in cases:
            response = await harness.send(**changes)
            assert (response.status, response.json.get("name")) == (status, name), changes
            assert response.json["errors"][0]["pointer"] == pointer
            assert response.json["status"] == response.json["statusCode"] == status
            assert response.json["request_id"] == response.headers["x-request-id"]


async def test_keys_are_limited_to_their_permissions(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up()
        async with harness.directory() as directory:
            sending, record = await directory.add_key(
                harness.tenant_id, test=True, scopes=["sending_access"]
            )
            restricted, _ = await directory.add_key(
                harness.tenant_id, test=True, cidrs=["192.0.2.0/24"]
            )
        assert (await harness.request("POST", "/v1/emails", email(), key=sending)).status == 202
        refused = await harness.request("GET", "/v1/emails", key=sending)
        assert (refused.status, refused.json["name"]) == (401, "restricted_api_key")
        refused = await harness.request("POST", "/v1/emails", email(), key=restricted)
        assert (refused.status, refused.json["name"]) == (403, "invalid_api_key")
        nobody = await harness.request("POST", "/v1/emails", email(), key="obm_live_none")
        assert (nobody.status, nobody.json["name"]) == (403, "invalid_api_key")
        async with harness.directory() as directory:
            await directory.delete_key(record.key_id)

        async def closed() -> bool:
            got = await harness.request("POST", "/v1/emails", email(), key=sending)
            return got.status == 403

        await until(closed)


async def test_the_published_directory_has_encrypted_secrets(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up()
        await harness.send()
        keys = await harness.read_events(ApiKey)
        assert any(one.tenant_id == harness.tenant_id for one in keys)
        [domain] = [
            one for one in await harness.read_events(Domain) if one.tenant_id == harness.tenant_id
        ]
        assert domain.name == DOMAIN
        opened = SecretKeyring([harness.secret_key]).decrypt(domain.rsa_private_key)
        assert opened[:1] == b"\x30"  # DER


async def test_a_too_large_request_gets_413(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up()
        response = await harness.send(text="x" * (41 * 1024 * 1024))
        assert (response.status, response.json["name"]) == (413, "message_too_large")
        assert (await harness.send()).status == 202


async def test_a_tenant_creates_and_deletes_its_own_keys(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up()
        wanted = {"name": "shop", "permission": "sending_access", "cidrs": ["127.0.0.0/8"]}
        made = await harness.request("POST", "/v1/api-keys", wanted)
        assert made.status == 201
        token = made.json["token"]
        assert (await harness.request("POST", "/v1/emails", email(), key=token)).status == 202
        assert (await harness.request("GET", "/v1/api-keys", key=token)).status == 401
        listed = await harness.request("GET", "/v1/api-keys")
        assert [one["name"] for one in listed.json["data"]] == ["shop", ""]
        assert token not in listed.raw.decode()
        live = await harness.request("POST", "/v1/api-keys", {"name": "live", "test": False})
        assert (live.status, live.json["name"]) == (403, "restricted_api_key")
        wrong = await harness.request("POST", "/v1/api-keys", {"name": "x", "cidrs": ["here"]})
        assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "#/cidrs")
        path = f"/v1/api-keys/{made.json['id']}"
        assert (await harness.request("DELETE", path, {})).json["deleted"] is True
        assert (await harness.request("DELETE", path, {})).status == 404

        async def closed() -> bool:
            got = await harness.request("POST", "/v1/emails", email(), key=token)
            return got.status == 403

        await until(closed)


async def test_a_thousand_requests_with_one_idempotency_key_at_two_replicas_make_one_message(
    harness: IngestHarness,
) -> None:
    second = Ports.find_free()
    async with harness.running(second):
        await harness.sign_up()
        ports = [harness.ports.ingest_http, second.ingest_http]
        responses = await asyncio.gather(
            *(
                harness.request(
                    "POST", "/v1/emails", email(), port=ports[n % 2],
                    headers={"Idempotency-Key": "one"},
                )
                for n in range(1000)
            )
        )  # fmt: skip
        # On a busy machine PostgreSQL may have no connection in time: then nothing is accepted.
        assert {one.status for one in responses} <= {202, 409, 503}
        ids = {one.json["id"] for one in responses if one.status == 202}
        assert len(ids) == 1
        names = {one.json["name"] for one in responses if one.status == 409}
        assert names <= {"concurrent_idempotent_requests"}
    with harness.database.connect() as connection:
        row = connection.execute(
            "SELECT count(*) FROM ingest.messages WHERE tenant_id = %s", (harness.tenant_id,)
        ).fetchone()
    assert row == (1,)


async def test_live_mail_to_a_reserved_domain_is_refused_unless_a_route_serves_it(
    harness: IngestHarness,
) -> None:
    harness.extra = {"allowed_reserved_domains": "bench.test"}
    async with harness.running():
        await harness.sign_up(test=False)
        assert (await harness.send(to="a@example.com")).status == 422
        assert (await harness.send(to="a@x.bench.test")).status == 202


async def test_the_messages_of_a_busy_tenant_become_bulk(harness: IngestHarness) -> None:
    harness.extra = {"bulk_threshold": 3}
    async with harness.running():
        await harness.sign_up()
        batch = [email() for _ in range(3)]
        assert (await harness.request("POST", "/v1/emails/batch", batch)).status == 202
        sent = await harness.send()
        [accepted] = await harness.accepted(sent.json["id"])
        assert accepted.priority == PRIORITY_BULK
        assert accepted.context.recipient_type == RecipientType.RECIPIENT_TYPE_TO


async def test_every_response_is_json_with_rate_limit_fields(harness: IngestHarness) -> None:
    harness.extra = {"key_rate_limit_per_s": 2}
    async with harness.running():
        await harness.sign_up()
        responses = [await harness.request("GET", "/v1/domains") for _ in range(2)]
        assert [one.status for one in responses] == [200, 200]
        first = responses[0]
        while (limited := responses[-1]).status == 200:  # a slow machine may stay below the limit
            more = (harness.request("GET", "/v1/domains") for _ in range(10))
            responses = sorted(await asyncio.gather(*more), key=attrgetter("status"))
        assert (limited.status, limited.json["name"]) == (429, "rate_limit_exceeded")
        assert limited.headers["retry-after"] == "1"
        assert first.headers["ratelimit-limit"] == "2"
        assert first.headers["ratelimit-policy"] == '"default";q=2;w=1'
        gone = await harness.request("GET", "/v1/nothing")
        assert (gone.status, gone.json["name"]) == (404, "not_found")
        wrong = await harness.request("PUT", "/v1/emails")
        assert (wrong.status, wrong.json["name"]) == (405, "method_not_allowed")
        problem = await harness.request(
            "GET", "/v1/nothing", headers={"Accept": "application/problem+json"}
        )
        assert problem.headers["content-type"] == "application/problem+json"
