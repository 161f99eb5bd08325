"""ingest on real Kafka and PostgreSQL: from the request to the event, and back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cli.environment import Ports
from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Tenant
from contracts.ingest.v1.events_pb2 import MESSAGE_CLASS_BULK, MessageAccepted, RecipientType
from kernel.content import open_store
from kernel.crypto import Secrets, derived_key, unseal
from mail import verp
from tests.support.ingest import DOMAIN, House, email, play, until
from tests.support.pair import FreshDatabase


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    return House(bootstrap_servers, topic_prefix, database, tmp_path)


def test_an_accepted_email_is_sealed_kept_and_told(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            answer = await house.send(
                to=["a@one.example", "Bé <b@two.example>"], bcc="c@three.example",
                tags=[{"name": "kind", "value": "order"}], metadata={"order": "17"},
                attachments=[{"filename": "bill.txt", "content": "MTcg4oKs"}],
            )  # fmt: skip
            assert answer.status == 202
            assert answer.json["status"] == "queued"
            assert answer.headers["location"] == f"/v1/emails/{answer.json['id']}"
            told = await house.accepted(answer.json["id"], 3)
            envelopes = [one.envelope for one in told]
            assert {one.recipient for one in envelopes} == {
                "a@one.example", "b@two.example", "c@three.example"
            }  # fmt: skip
            assert all(one.test and one.tenant_id == house.tenant_id for one in envelopes)
            assert list(told[0].to) == ["a@one.example", "Bé <b@two.example>"]
            assert dict(told[0].tags) == {"kind": "order"}
            content = await _content(house, told[0])
            assert content.attachments[0].content == "17 €".encode()
            assert content.subject == "Your order"
            key = derived_key(house.secret_key, "return path")
            for one in envelopes:
                named = verp.parse(one.return_path, keys=(key,))
                assert str(named) == one.message_id

    play(story())


async def _content(house: House, told: MessageAccepted) -> Content:
    envelope = told.envelope
    [tenant] = [one for one in await house.told(Tenant, 99) if one.tenant_id == envelope.tenant_id]
    store = open_store(house.settings().content_store_url)
    [sealed] = await store.get_many([envelope.content_ref])
    assert isinstance(sealed, bytes)
    assert len(sealed) == envelope.content_bytes
    key = Secrets([house.secret_key]).decrypt(tenant.content_key)
    plain = unseal(key, sealed, f"{envelope.tenant_id}/{envelope.email_id}".encode())
    return Content.FromString(plain)


def test_an_email_can_be_read_right_after_it_was_sent_while_the_router_is_away(
    house: House,
) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            sent = await house.send(cc="Copy <c@x.example>", scheduled_at="in 1 hour")
            assert sent.json["status"] == "scheduled"
            # resend-python sends a body with GET
            got = await house.ask("GET", f"/v1/emails/{sent.json['id']}", {})
            assert got.status == 200
            assert got.json["unavailable"] == ["router", "events"]
            assert got.json["last_event"] == "scheduled"
            assert got.json["cc"] == ["Copy <c@x.example>"]
            assert got.json["text"] == "It is on its way."
            assert [one["recipient"] for one in got.json["recipients"]] == [
                "delivered@obm-sandbox.net", "c@x.example"
            ]  # fmt: skip

    play(story())


def test_an_email_of_another_tenant_is_as_missing_as_one_that_never_was(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            sent = await house.send()
            stranger = await house.enrol(domain="stranger.obm-sandbox.net")
            for path in ("", "/events"):
                foreign = await house.ask(
                    "GET", f"/v1/emails/{sent.json['id']}{path}", key=stranger
                )
                missing = await house.ask(
                    "GET", f"/v1/emails/01890000-0000-7000-8000-000000000000{path}", key=stranger
                )
                assert foreign.status == missing.status == 404
                assert foreign.json["detail"] == missing.json["detail"]

    play(story())


def test_a_key_repeats_the_answer_and_refuses_another_request(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            key = {"Idempotency-Key": "order-17"}
            first = await house.send(http_headers=key)
            again = await house.send(http_headers=key)
            other = await house.send(http_headers=key, subject="Another order")
            assert first.status == again.status == 202
            assert first.raw == again.raw
            assert "idempotent-replayed" not in first.headers
            assert again.headers["idempotent-replayed"] == "true"
            assert (other.status, other.json["name"]) == (409, "invalid_idempotent_request")
            invalid = await house.send(http_headers={"Idempotency-Key": "refused"}, to="nobody")
            assert invalid.status == 422
            assert (await house.send(http_headers={"Idempotency-Key": "refused"})).status == 202

    play(story())


def test_a_thousand_requests_with_one_key_at_two_replicas_make_one_message(house: House) -> None:
    async def story() -> None:
        second = Ports.free()
        async with house.running(second):
            await house.enrol()
            ports = [house.ports.ingest_http, second.ingest_http]
            answers = await asyncio.gather(
                *(
                    house.ask(
                        "POST", "/v1/emails", email(), port=ports[n % 2],
                        headers={"Idempotency-Key": "one"},
                    )
                    for n in range(1000)
                )
            )  # fmt: skip
            assert {one.status for one in answers} <= {202, 409}
            ids = {one.json["id"] for one in answers if one.status == 202}
            assert len(ids) == 1
            names = {one.json["name"] for one in answers if one.status == 409}
            assert names <= {"concurrent_idempotent_requests"}
        with house.database.connect() as connection:
            row = connection.execute(
                "SELECT count(*) FROM ingest.messages WHERE tenant_id = %s", (house.tenant_id,)
            ).fetchone()
        assert row == (1,)

    play(story())


def test_what_may_not_be_sent_is_refused_with_a_name_and_a_place(house: House) -> None:
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

    async def story() -> None:
        async with house.running():
            await house.enrol()
            for changes, status, name, pointer in cases:
                answer = await house.send(**changes)
                assert (answer.status, answer.json.get("name")) == (status, name), changes
                assert answer.json["errors"][0]["pointer"] == pointer
                assert answer.json["status"] == answer.json["statusCode"] == status
                assert answer.json["request_id"] == answer.headers["x-request-id"]

    play(story())


def test_live_mail_to_a_reserved_domain_is_refused_unless_a_route_serves_it(house: House) -> None:
    async def story() -> None:
        house.extra = {"reserved_allowed": "bench.test"}
        async with house.running():
            await house.enrol(test=False)
            assert (await house.send(to="a@example.com")).status == 422
            assert (await house.send(to="a@x.bench.test")).status == 202

    play(story())


def test_keys_open_only_their_own_doors(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            async with house.customers() as customers:
                sending, record = await customers.add_key(
                    house.tenant_id, test=True, scopes=["sending_access"]
                )
                away, _ = await customers.add_key(
                    house.tenant_id, test=True, cidrs=["192.0.2.0/24"]
                )
            assert (await house.ask("POST", "/v1/emails", email(), key=sending)).status == 202
            refused = await house.ask("GET", "/v1/emails", key=sending)
            assert (refused.status, refused.json["name"]) == (401, "restricted_api_key")
            elsewhere = await house.ask("POST", "/v1/emails", email(), key=away)
            assert (elsewhere.status, elsewhere.json["name"]) == (403, "invalid_api_key")
            nobody = await house.ask("POST", "/v1/emails", email(), key="obm_live_none")
            assert (nobody.status, nobody.json["name"]) == (403, "invalid_api_key")
            async with house.customers() as customers:
                await customers.delete_key(record.key_id)

            async def closed() -> bool:
                got = await house.ask("POST", "/v1/emails", email(), key=sending)
                return got.status == 403

            await until(closed)

    play(story())


def test_the_directory_is_told_with_secrets_that_only_the_services_can_open(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            await house.send()

            async def told() -> bool:
                keys = await house.told(ApiKey, 99)
                return any(one.tenant_id == house.tenant_id for one in keys)

            await until(told)
            [domain] = [
                one for one in await house.told(Domain, 99) if one.tenant_id == house.tenant_id
            ]
            assert domain.name == DOMAIN
            opened = Secrets([house.secret_key]).decrypt(domain.rsa_private_key)
            assert opened[:1] == b"\x30"  # DER

    play(story())


def test_the_messages_of_a_busy_tenant_become_bulk(house: House) -> None:
    async def story() -> None:
        house.extra = {"bulk_after": 3}
        async with house.running():
            await house.enrol()
            batch = [email() for _ in range(3)]
            assert (await house.ask("POST", "/v1/emails/batch", batch)).status == 202
            sent = await house.send()
            [told] = await house.accepted(sent.json["id"])
            assert told.message_class == MESSAGE_CLASS_BULK
            assert told.envelope.recipient_type == RecipientType.RECIPIENT_TYPE_TO

    play(story())


def test_a_request_that_is_too_large_gets_a_clear_answer(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            answer = await house.send(text="x" * (41 * 1024 * 1024))
            assert (answer.status, answer.json["name"]) == (413, "message_too_large")
            assert (await house.send()).status == 202

    play(story())


def test_every_answer_is_json_with_the_figures_of_the_limit(house: House) -> None:
    async def story() -> None:
        house.extra = {"requests_per_s": 2}
        async with house.running():
            await house.enrol()
            answers = [await house.ask("GET", "/v1/domains") for _ in range(4)]
            assert [one.status for one in answers][:2] == [200, 200]
            limited = answers[-1]
            assert (limited.status, limited.json["name"]) == (429, "rate_limit_exceeded")
            assert limited.headers["retry-after"] == "1"
            assert answers[0].headers["ratelimit-limit"] == "2"
            assert answers[0].headers["ratelimit-policy"] == '"default";q=2;w=1'
            gone = await house.ask("GET", "/v1/nothing")
            assert (gone.status, gone.json["name"]) == (404, "not_found")
            wrong = await house.ask("PUT", "/v1/emails")
            assert (wrong.status, wrong.json["name"]) == (405, "method_not_allowed")
            problem = await house.ask(
                "GET", "/v1/nothing", headers={"Accept": "application/problem+json"}
            )
            assert problem.headers["content-type"] == "application/problem+json"

    play(story())


def test_a_tenant_makes_and_ends_keys_of_its_own(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            wanted = {"name": "shop", "permission": "sending_access", "cidrs": ["127.0.0.0/8"]}
            made = await house.ask("POST", "/v1/api-keys", wanted)
            assert made.status == 201
            token = made.json["token"]
            assert (await house.ask("POST", "/v1/emails", email(), key=token)).status == 202
            assert (await house.ask("GET", "/v1/api-keys", key=token)).status == 401
            listed = await house.ask("GET", "/v1/api-keys")
            assert [one["name"] for one in listed.json["data"]] == ["shop", ""]
            assert token not in listed.raw.decode()
            live = await house.ask("POST", "/v1/api-keys", {"name": "live", "test": False})
            assert (live.status, live.json["name"]) == (403, "restricted_api_key")
            wrong = await house.ask("POST", "/v1/api-keys", {"name": "x", "cidrs": ["here"]})
            assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "#/cidrs")
            path = f"/v1/api-keys/{made.json['id']}"
            assert (await house.ask("DELETE", path, {})).json["deleted"] is True
            assert (await house.ask("DELETE", path, {})).status == 404

            async def closed() -> bool:
                got = await house.ask("POST", "/v1/emails", email(), key=token)
                return got.status == 403

            await until(closed)

    play(story())
