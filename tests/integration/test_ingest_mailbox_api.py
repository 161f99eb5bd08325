"""Mailboxes of the API: batches, keys with fewer rights, accounts and the audit log."""

import json
import time

import pytest

from contracts.ingest.v1.directory_pb2 import Domain, Mailbox
from services.ingest.domain.verification import NOT_STARTED
from tests.support.ingest import DOMAIN, IngestHarness
from tests.support.mailboxes import ANN, act, refusal
from tests.support.stack import shared_harness_fixture

harness = shared_harness_fixture(IngestHarness)


async def test_a_batch_is_created_as_a_whole_or_not_at_all(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up()
        many = [{"address": f"user{number}@{DOMAIN}"} for number in range(500)]
        began_s = time.monotonic()
        made = await act(harness, "POST", "/v1/mailboxes/batch", many)
        print(f"500 mailboxes in {time.monotonic() - began_s:.2f} s")
        assert [one["address"] for one in made["data"]] == [one["address"] for one in many]
        assert len({one["password"] for one in made["data"]}) == 500
        listed = await act(harness, "GET", "/v1/mailboxes?limit=100")
        assert (len(listed["data"]), listed["has_more"]) == (100, True)

        fresh = {"address": ANN}
        for batch, wanted in (
            ([fresh, many[7]], (409, "already_exists", "#/1/address")),
            ([fresh, fresh], (422, "validation_error", "#/1/address")),
            ([fresh, {"address": "a@bank.example"}], (422, "validation_error", "#/1/address")),
            ([fresh, {"address": "no address"}], (422, "validation_error", "#/1/address")),
            ([fresh, {"address": ANN, "password": "x"}], (422, "validation_error", "#/1/password")),
            ([], (422, "validation_error", "#")),
            ([fresh] * 501, (422, "validation_error", "#")),
        ):
            response = await harness.request("POST", "/v1/mailboxes/batch", batch)
            assert refusal(response) == wanted, response.raw
        assert (await act(harness, "GET", f"/v1/mailboxes?address={ANN}"))["data"] == []


async def test_a_live_mailbox_needs_a_verified_domain(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up(test=False)
        async with harness.directory() as directory:
            [domain] = await directory.store.list_of_tenant(Domain, harness.tenant_id)
            domain.status = NOT_STARTED
            await directory.store.save(domain)
        refused = await harness.request("POST", "/v1/mailboxes", {"address": ANN})
        assert refusal(refused) == (422, "validation_error", "#/address")
        assert "_domainkey" in refused.json["detail"]
        test = await act(harness, "POST", "/v1/mailboxes", {"address": ANN, "test": True})
        assert test["test"] is True


async def test_test_keys_and_keys_of_one_domain_reach_their_own_mailboxes(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up(test=False)
        live = await act(harness, "POST", "/v1/mailboxes", {"address": ANN})
        test_key = (await harness.make("/v1/api-keys", harness.key, name="t", test=True))["token"]
        path = f"/v1/mailboxes/{live['id']}"
        for method, url, body in (
            ("GET", path, None), ("PATCH", path, {"name": "x"}), ("DELETE", path, None),
            ("POST", f"{path}/rotate", None),
        ):  # fmt: skip
            assert (await harness.request(method, url, body, key=test_key)).status == 404
        assert (await harness.request("GET", "/v1/mailboxes", key=test_key)).json["data"] == []
        denied = await harness.request(
            "POST", "/v1/mailboxes", {"address": ANN, "test": False}, key=test_key
        )
        assert refusal(denied)[:2] == (403, "restricted_api_key")
        async with harness.directory() as directory:
            other = await directory.add_domain(
                "other.example.net", tenant=harness.tenant_id, verified=True
            )
        bound = await harness.make("/v1/api-keys", harness.key, name="b", domain_id=other.domain_id)
        for url, body in (("/v1/mailboxes", {"address": f"bob@{DOMAIN}"}), (f"{path}/rotate", {})):
            denied = await harness.request("POST", url, body, key=bound["token"])
            assert refusal(denied)[:2] == (403, "restricted_api_key")


async def test_acts_on_mailboxes_are_in_the_audit_log_and_no_password_is_kept(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up()
        made = await act(harness, "POST", "/v1/mailboxes", {"address": ANN})
        path = f"/v1/mailboxes/{made['id']}"
        await act(harness, "PATCH", path, {"limits": {"per_day": 5}, "name": "Ann"})
        rotated = await act(harness, "POST", f"{path}/rotate")
        await act(harness, "DELETE", path)
        operator = await harness.operator_key()
        found = await harness.request("GET", "/v1/audit?resource=mailbox", key=operator)
        mine = [one for one in found.json["data"] if one["resource_id"] == made["id"]]
        assert [one["action"] for one in mine] == [
            "mailbox.delete", "mailbox.rotate", "mailbox.update", "mailbox.create",
        ]  # fmt: skip
        assert mine[2]["after"]["per_day_max"] == 5
        shown = json.dumps(found.json)
        assert made["password"] not in shown
        assert "sha256" not in shown
        published = await harness.read_events(Mailbox)
        kept = b"".join(one.SerializeToString() for one in published)
        assert made["id"].encode() in kept
        for secret in (made["password"], rotated["password"]):
            assert secret.encode() not in kept


async def test_an_account_names_the_tenant_and_lists_all_its_mailboxes(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up()
        operator = await harness.operator_key()
        account_id = (await act(harness, "GET", "/v1/api-keys"))["data"][0]["account_id"]
        made = await harness.make(
            "/v1/api-keys", operator, name="a", kind="account", account_id=account_id
        )
        key, tenant = made["token"], {"X-Tenant-Id": harness.tenant_id}
        body = {"address": ANN, "test": True}
        unnamed = await harness.request("POST", "/v1/mailboxes", body, key=key)
        assert refusal(unnamed)[:2] == (422, "missing_required_field")
        created = await harness.request("POST", "/v1/mailboxes", body, key=key, headers=tenant)
        assert (created.status, created.json["tenant_id"]) == (201, harness.tenant_id)
        for headers in ({}, tenant):
            listed = await harness.request("GET", "/v1/mailboxes", key=key, headers=headers)
            assert [one["id"] for one in listed.json["data"]] == [created.json["id"]]
        in_use = await harness.request("DELETE", f"/v1/tenants/{harness.tenant_id}", key=key)
        assert refusal(in_use)[:2] == (409, "tenant_in_use")


@pytest.mark.parametrize("path", ["/v1/mailboxes", "/v1/mailboxes/batch"])
async def test_an_idempotency_key_is_refused(harness: IngestHarness, path: str) -> None:
    async with harness.shared():
        await harness.sign_up()
        one = {"address": ANN}
        response = await harness.request(
            "POST", path, [one] if "batch" in path else one, headers={"Idempotency-Key": "1"}
        )
        assert refusal(response)[:2] == (400, "invalid_idempotency_key")
