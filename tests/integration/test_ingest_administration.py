"""Rotation, suspension and pauses: in force in every replica, and recorded in the audit log."""

import asyncio
import json
from typing import Any

from contracts.ingest.v1.directory_pb2 import ApiKey, Tenant
from contracts.ingest.v1.events_pb2 import ApiKeyRotated
from kernel.database import Database
from services.ingest.store.directory_lists import DirectoryLists, EntryOwner, PageBounds
from tests.support.ingest import IngestHarness, Response, email
from tests.support.polling import until
from tests.support.stack import FreshDatabase, shared_harness_fixture

LIVE = email(to="ann@receiver.com")


harness = shared_harness_fixture(IngestHarness)


async def act(harness: IngestHarness, key: str, path: str, **body: object) -> Any:  # noqa: ANN401 - JSON
    response = await harness.request("POST", path, body or None, key=key)
    assert response.status < 300, response.raw
    return response.json


def refusal(response: Response) -> tuple[int, str]:
    return response.status, response.json["name"]


async def own_key(harness: IngestHarness) -> Any:  # noqa: ANN401 - JSON
    return (await harness.request("GET", "/v1/api-keys")).json["data"][0]


async def test_both_keys_work_during_a_rotation_and_one_after_it(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up()
        old, old_token = await own_key(harness), harness.key
        new = await act(harness, old_token, f"/v1/api-keys/{old['id']}/rotate", grace_s=2)
        for name in ("tenant_id", "account_id", "permission", "domain_id", "cidrs", "test"):
            assert new[name] == old[name]
        assert new["rotated_from"] == old["id"]
        assert new["token"].startswith(new["prefix"])
        assert new["expires_at"] is None
        for key in (old_token, new["token"]):
            assert (await harness.request("POST", "/v1/emails", email(), key=key)).status == 202
        for identifier in (old["id"], new["id"]):
            again = await harness.request(
                "POST", f"/v1/api-keys/{identifier}/rotate", {}, key=new["token"]
            )
            assert refusal(again) == (409, "rotation_in_progress")
        forced = await act(
            harness, new["token"], f"/v1/api-keys/{old['id']}/rotate", force=True, grace_s=0
        )
        assert forced["expires_at"] is None
        refused = await harness.request("POST", "/v1/emails", email(), key=old_token)
        assert refusal(refused) == (403, "invalid_api_key")
        assert (
            await harness.request("POST", "/v1/emails", email(), key=forced["token"])
        ).status == 202


async def test_a_rotation_is_an_event_and_one_that_is_refused_is_not(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up()
        old = await own_key(harness)
        path = f"/v1/api-keys/{old['id']}/rotate"
        new = await act(harness, harness.key, path, grace_s=600)
        assert (await harness.request("POST", path, {}, key=new["token"])).status == 409
        operator = await harness.operator_key()
        account, _ = await harness.make_account(operator, "Acme")
        mine = {"name": "A", "kind": "account", "account_id": account["id"]}
        whole = await harness.make("/v1/api-keys", operator, **mine)
        of_account = await act(harness, operator, f"/v1/api-keys/{whole['id']}/rotate")
        of_operator = await harness.make("/v1/api-keys", operator, name="O", kind="operator")
        await act(harness, operator, f"/v1/api-keys/{of_operator['id']}/rotate")
        found = {one.rotated_from: one for one in await harness.read_events(ApiKeyRotated)}
        assert found.keys() >= {old["id"], whole["id"]}
        assert of_operator["id"] not in found
        event = found[old["id"]]
        assert (event.key_id, event.tenant_id, event.account_id) == (
            new["id"], harness.tenant_id, old["account_id"],
        )  # fmt: skip
        assert (event.prefix, event.test, event.rotated_by) == (new["prefix"], True, old["id"])
        assert event.old_expires_at.seconds - event.rotated_at.seconds in {599, 600}
        event = found[whole["id"]]
        assert (event.key_id, event.tenant_id, event.account_id) == (
            of_account["id"], "", account["id"],
        )  # fmt: skip


async def test_a_restricted_key_cannot_rotate_one_with_more_rights(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up()
        whole = await own_key(harness)
        narrow = await harness.make("/v1/api-keys", harness.key, name="n", cidrs=["127.0.0.1"])
        rotated = await harness.request(
            "POST", f"/v1/api-keys/{whole['id']}/rotate", {}, key=narrow["token"]
        )
        assert refusal(rotated) == (403, "restricted_api_key")
        await act(harness, narrow["token"], f"/v1/api-keys/{narrow['id']}/rotate", grace_s=60)


async def test_a_suspended_account_and_a_paused_tenant_send_no_live_mail(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up(test=False)
        test = await harness.make("/v1/api-keys", harness.key, name="t", test=True)
        operator, mine = await harness.operator_key(), await own_key(harness)
        account_key = await harness.make(
            "/v1/api-keys", operator, name="a", kind="account", account_id=mine["account_id"]
        )
        account = f"/v1/accounts/{mine['account_id']}"
        tenant = f"/v1/tenants/{mine['tenant_id']}"

        async def sends(name: str) -> None:
            """Live mail is refused with this name, on each route; accepted if it is empty."""
            for path, body in (("/v1/emails", LIVE), ("/v1/emails/batch", [LIVE])):
                sent = await harness.request("POST", path, body)
                assert sent.json.get("name", "") == name, sent.raw
                assert sent.status == (403 if name else sent.status)
            simulated = await harness.request("POST", "/v1/emails", email(), key=test["token"])
            assert simulated.status == 202

        await sends("")
        suspended = await act(harness, operator, f"{account}/suspend", reason="unpaid")
        assert (suspended["status"], suspended["status_reason"]) == ("suspended", "unpaid")
        await sends("account_suspended")
        await act(harness, operator, f"{account}/resume")
        await sends("")
        paused = await act(harness, account_key["token"], f"{tenant}/pause", reason="complaints")
        assert paused["pause"] == {"reason": "complaints", "until": None, "by": "account"}
        await sends("tenant_paused")
        await act(harness, account_key["token"], f"{tenant}/resume")
        await sends("")
        await act(harness, operator, f"{tenant}/pause")
        resumed = await harness.request("POST", f"{tenant}/resume", key=account_key["token"])
        assert refusal(resumed) == (403, "restricted_api_key")


async def test_what_is_in_use_is_not_deleted(harness: IngestHarness) -> None:
    async with harness.shared():
        operator = await harness.operator_key()
        account, key = await harness.make_account(operator, "Acme")
        made = await harness.make("/v1/api-keys", key, name="shop", test=True)
        tenant = f"/v1/tenants/{made['tenant_id']}"
        path = f"/v1/accounts/{account['id']}"
        assert refusal(await harness.request("DELETE", path, key=operator)) == (
            409,
            "account_in_use",
        )
        assert refusal(await harness.request("DELETE", tenant, key=key)) == (409, "tenant_in_use")
        for gone in (f"/v1/api-keys/{made['id']}", tenant):
            assert (await harness.request("DELETE", gone, key=key)).json["deleted"] is True
            missing = await harness.request("DELETE", gone, key=key)
            assert refusal(missing) == (404, "not_found")
        assert (await harness.request("DELETE", path, key=operator)).status == 200
        closed = await harness.request("GET", "/v1/tenants", key=key)
        assert refusal(closed) == (403, "invalid_api_key")


async def test_each_act_is_in_the_audit_log_without_secrets(harness: IngestHarness) -> None:
    async with harness.shared():
        operator = await harness.operator_key()
        account, key = await harness.make_account(operator, "Acme")
        made = await harness.make("/v1/api-keys", key, name="shop", test=True)
        await harness.request("PATCH", f"/v1/api-keys/{made['id']}", {"name": "blog"}, key=key)
        await act(harness, operator, f"/v1/accounts/{account['id']}/suspend", reason="unpaid")
        taken = {"name": "x", "external_id": "1"}
        for expected in (201, 409):  # the second act fails, so it is not recorded
            created = await harness.request("POST", "/v1/tenants", taken, key=key)
            assert created.status == expected

        found = (await harness.request("GET", "/v1/audit", key=key)).json["data"]
        acts = [(one["action"], one["actor"]["kind"]) for one in reversed(found)]
        assert acts == [
            ("account.create", "operator"),
            ("api_key.create", "operator"),
            ("tenant.create", "account"),
            ("api_key.create", "account"),
            ("api_key.update", "account"),
            ("account.suspend", "operator"),
            ("tenant.create", "account"),
        ]
        renamed = next(one for one in found if one["action"] == "api_key.update")
        assert (renamed["before"]["name"], renamed["after"]["name"]) == ("shop", "blog")
        assert renamed["request_id"].startswith("req_")
        assert made["token"] not in json.dumps(found)
        assert "secret" not in json.dumps(found)


async def test_the_audit_log_is_filtered_and_shows_each_account_its_own(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        stranger, foreign = await harness.make_account(operator, "Stranger")
        made = await harness.make("/v1/api-keys", key, name="shop", test=True)

        async def listed(query: str, by: str = key) -> list[Any]:
            response = await harness.request("GET", f"/v1/audit?{query}", key=by)
            return list(response.json["data"])

        found = await listed("")
        keys = [one for one in found if one["resource"] == "api_key"]
        assert await listed("resource=api_key") == keys
        assert await listed("action=tenant.create&limit=1") == found[1:2]
        assert await listed(f"actor={found[0]['actor']['id']}") == found[:2]
        assert (await listed(f"since={found[0]['created_at']}"))[0] == found[0]
        assert await listed("since=2100-01-01") == []
        assert await listed(f"after={found[0]['id']}") == found[1:]
        assert {one["account_id"] for one in await listed("", foreign)} == {stranger["id"]}
        whole = await listed("limit=100", operator)
        assert {made["id"], stranger["id"]} <= {one["resource_id"] for one in whole}
        by_command = {one["action"] for one in whole if one["actor"]["kind"] == "command"}
        assert "api_key.create" in by_command


async def test_a_query_without_a_condition_shows_an_account_its_own_rows(
    harness: IngestHarness, database: FreshDatabase
) -> None:
    """Row-level security, not only the conditions of the queries."""
    async with harness.running():
        operator = await harness.operator_key()
        accounts = [await harness.make_account(operator, name) for name in "ab"]
        for _, key in accounts:
            await harness.make("/v1/api-keys", key, name="shop", test=True)
    system = Database(database.system("ingest"), name="system")
    tenant = Database(database.tenant("ingest"), name="tenant")
    lists = DirectoryLists(system, tenant)
    try:
        for account, _ in accounts:
            owner = EntryOwner(account["id"])
            tenants, _ = await lists.page(Tenant, owner, PageBounds(100), equal={})
            assert {one.account_id for one in tenants} == {account["id"]}
            keys, _ = await lists.page(ApiKey, owner, PageBounds(100), equal={})
            assert {one.account_id for one in keys} == {account["id"]}
            mine = EntryOwner(account["id"], tenants[0].tenant_id)
            [only], _ = await lists.page(ApiKey, mine, PageBounds(100), equal={})
            assert only.tenant_id == tenants[0].tenant_id
            columns = "SELECT account_id::text FROM ingest.audit_log"
            rows, _ = await lists.rows(columns, owner, PageBounds(100), conditions=[], values={})
            assert set(rows) == {(account["id"],)}
    finally:
        await system.close()
        await tenant.close()


async def test_a_key_that_is_used_has_the_time_of_its_last_use(harness: IngestHarness) -> None:
    harness.extra["key_usage_interval_s"] = 0.2
    async with harness.running():
        await harness.sign_up()
        unused = await harness.make("/v1/api-keys", harness.key, name="unused")

        async def is_recorded() -> bool:
            listed = (await harness.request("GET", "/v1/api-keys")).json["data"]
            found = {one["id"]: one["last_used_at"] for one in listed}
            assert found.pop(unused["id"]) is None
            return all(found.values())

        await until(is_recorded)
        before = await own_key(harness)
        await asyncio.sleep(1.0)
        assert (await own_key(harness))["last_used_at"] == before["last_used_at"]  # once a minute
