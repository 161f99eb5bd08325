"""What a plan admits: features and quotas of live messages, by every interface and on every
replica; brands, pools, domains, mailboxes and tenants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli.environment import Ports
from contracts.ingest.v1.directory_pb2 import Account, Tenant
from services.ingest.store.quotas import QuotaKey, QuotaUsage
from tests.integration.test_ingest_submission import in_thread, submit
from tests.support.ingest import IngestHarness, email
from tests.support.polling import until
from tests.support.stack import harness_fixture

PRICES = """
currency = "EUR"
[[prices]]
effective_from = 2020-01-01
[prices.plans.trial]
name = "Trial"
fee = "0"
features = ["smtp", "api"]
quota = { month = 12, enforcement = "hard" }
limits = { domains = 1, mailboxes = 2, tenants = 1 }
[prices.plans.daily]
name = "Daily"
fee = "0"
features = ["smtp", "api"]
quota = { month = 100, day = 3, enforcement = "hard" }
[prices.plans.soft]
name = "Soft"
fee = "0"
features = ["smtp", "api"]
quota = { month = 1 }
[prices.plans.starter]
name = "Starter"
fee = "199"
features = ["smtp"]
[prices.plans.pro]
name = "Pro"
fee = "599"
features = ["smtp", "api", "white_label", "dedicated_ips"]
"""
MONTH = f"{datetime.now(UTC):%Y-%m}"
WITH_HOST = partial(IngestHarness, extra={"bounce_mx": "mx.example.net"})
harness = harness_fixture(WITH_HOST, scope="function")


@asynccontextmanager
async def on_plan(harness: IngestHarness, plan: str, *more: Ports) -> AsyncIterator[str]:
    """Replicas, with a live key of an account on a plan. Yields the id of the account."""
    path = harness.folder / "prices.toml"
    harness.folder.mkdir(exist_ok=True)
    Path(path).write_text(PRICES)
    harness.extra |= {"prices_file": str(path), "allowed_reserved_domains": "example.com,example"}
    await harness.sign_up(test=False)
    account_id = await set_plan(harness, plan)
    async with harness.running(*more):
        yield account_id


async def set_plan(harness: IngestHarness, plan: str) -> str:
    async with harness.directory() as directory:
        [tenant] = await directory.store.find_by_id_or_name(Tenant, harness.tenant_id)
        [account] = await directory.store.find_by_id_or_name(Account, tenant.account_id)
        account.plan = plan
        await directory.store.save(account)
    return tenant.account_id


def live(number: int = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return email(to=[f"a{n}@receiver.example.com" for n in range(number)], **changes)


async def post(harness: IngestHarness, body: object, **options: Any) -> Any:  # noqa: ANN401
    path = "/v1/emails/batch" if isinstance(body, list) else "/v1/emails"
    return await harness.request("POST", path, body, **options)


def used(harness: IngestHarness, account_id: str) -> dict[str, int]:
    with harness.database.connect() as connection:
        rows = connection.execute(
            "SELECT period, messages FROM ingest.quota_usage WHERE account_id = %s", (account_id,)
        )
        return {str(period): int(str(messages)) for period, messages in rows.fetchall()}


async def test_a_hard_quota_refuses_what_is_beyond_it(harness: IngestHarness) -> None:
    async with on_plan(harness, "trial") as account_id:
        first = await post(harness, live(5), headers={"Idempotency-Key": "one"})
        assert first.status == 202, first.raw
        batch = [live(2), live(4)]
        assert (await post(harness, batch)).status == 202
        assert used(harness, account_id) == {MONTH: 11}
        refused = await post(harness, live(2))
        assert (refused.status, refused.json["name"]) == (429, "monthly_quota_exceeded")
        assert refused.json["errors"][0]["pointer"] == "#/to"
        assert "admits 12 messages a month. 11 are used" in refused.json["detail"]
        assert 1 <= int(refused.headers["retry-after"]) <= 3600
        assert (await post(harness, live(1))).status == 202
        repeat = await post(harness, live(5), headers={"Idempotency-Key": "one"})
        assert (repeat.status, repeat.json) == (202, first.json)
        assert used(harness, account_id) == {MONTH: 12}
        test_key = await harness.make("/v1/api-keys", harness.key, name="CI", test=True)
        assert (await post(harness, email(), key=test_key["token"])).status == 202
    async with harness.running():  # it is known after a restart
        assert (await post(harness, live(1))).status == 429
        await set_plan(harness, "soft")
        await until(lambda: is_accepted(harness))
        assert used(harness, account_id) == {MONTH: 12}


async def is_accepted(harness: IngestHarness) -> bool:
    return bool((await post(harness, live(1))).status == 202)


async def test_requests_at_once_do_not_exceed_a_quota_of_one_replica(
    harness: IngestHarness,
) -> None:
    async with on_plan(harness, "trial") as account_id:
        found = await asyncio.gather(*(post(harness, live(1)) for _ in range(40)))
        assert sorted(one.status for one in found) == [202] * 12 + [429] * 28
        assert used(harness, account_id) == {MONTH: 12}


async def test_replicas_exceed_a_quota_by_what_each_is_committing_at_most(
    harness: IngestHarness,
) -> None:
    ports = Ports.find_free()
    async with on_plan(harness, "trial", ports) as account_id:
        sizes = (3, 3, 3, 3, 3, 3, 3, 3)
        for number, size in enumerate(sizes):
            at = (harness.ports, ports)[number % 2].ingest_http
            await post(harness, live(size), port=at)
        assert 12 <= used(harness, account_id)[MONTH] <= 12 + 2 * 3


async def test_a_replica_that_has_not_heard_of_others_exceeds_a_quota_by_one_batch(
    harness: IngestHarness,
) -> None:
    ports = Ports.find_free()
    async with on_plan(harness, "trial", ports) as account_id:
        mine, other = harness.ports.ingest_http, ports.ingest_http
        assert (await post(harness, live(1), port=other)).status == 202
        assert (await post(harness, live(11), port=mine)).status == 202
        found = await asyncio.gather(
            *(post(harness, live(11), port=at) for at in (mine, other) for _ in range(5))
        )
        assert sorted(one.status for one in found) == [202] + [429] * 9
        refused = [await post(harness, live(1), port=at) for at in (mine, other)]
        assert [one.status for one in refused] == [429, 429]
        assert used(harness, account_id) == {MONTH: 12 + 11}


async def test_what_is_committed_is_not_counted_twice(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even until the requests of the group have their responses."""
    counted: list[int] = []

    async with on_plan(harness, "trial") as account_id:
        key = QuotaKey(account_id, MONTH)
        record = QuotaUsage.record

        def recorded(usage: QuotaUsage, *given: Any) -> None:  # noqa: ANN401
            record(usage, *given)
            counted.append(usage.used(key))

        monkeypatch.setattr(QuotaUsage, "record", recorded)
        assert (await post(harness, live(5))).status == 202
        assert (await post(harness, live(7))).status == 202
        assert counted == [0, 5, 12]


async def test_a_daily_quota(harness: IngestHarness) -> None:
    async with on_plan(harness, "daily") as account_id:
        assert (await post(harness, live(3))).status == 202
        refused = await post(harness, live(1))
        assert (refused.status, refused.json["name"]) == (429, "daily_quota_exceeded")
        day = str(datetime.now(UTC).date())
        assert used(harness, account_id) == {MONTH: 3, day: 3}


async def test_a_plan_without_the_api_sends_by_smtp(harness: IngestHarness) -> None:
    harness.serve_submission()
    async with on_plan(harness, "starter"):
        refused = await post(harness, live(1))
        assert (refused.status, refused.json["name"]) == (403, "plan_required")
        detail = refused.json["detail"]
        assert "The plan Starter does not include sending by the API" in detail
        assert "Pro" in detail
        code, _ = await in_thread(lambda: submit(harness))
        assert code == 250
        test_key = await harness.make("/v1/api-keys", harness.key, name="CI", test=True)
        assert (await post(harness, email(), key=test_key["token"])).status == 202


async def test_a_quota_holds_for_smtp(harness: IngestHarness) -> None:
    harness.serve_submission()
    async with on_plan(harness, "daily"):
        assert (await in_thread(lambda: submit(harness)))[0] == 250  # three recipients
        code, text = await in_thread(lambda: submit(harness))
        assert (code, text[:5]) == (452, b"4.7.1")
        assert b"admits 3 messages a day" in text


@pytest.mark.parametrize("plan", ["trial", "starter"])
async def test_what_the_plan_of_an_account_admits(harness: IngestHarness, plan: str) -> None:
    async with on_plan(harness, plan):
        operator = await harness.operator_key()
        account = await harness.make("/v1/accounts", operator, name="Acme", plan=plan)
        path = f"/v1/accounts/{account['id']}"
        brand = await harness.request("PATCH", path, {"brand": "default"}, key=operator)
        assert (brand.status, brand.json["name"]) == (403, "plan_required")
        assert brand.json["errors"][0]["pointer"] == "#/brand"
        token = (
            await harness.make(
                "/v1/api-keys", operator, name="k", kind="account", account_id=account["id"]
            )
        )["token"]
        shop = await harness.make("/v1/tenants", token, name="Shop")
        pool = {"pool_id": "01890000-0000-7000-8000-0000000000ff"}
        refused = await harness.request("PATCH", f"/v1/tenants/{shop['id']}", pool, key=operator)
        assert (refused.status, refused.json["name"]) == (403, "plan_required")
        if plan == "trial":
            await check_limits(harness, operator, token, shop["id"])
        changed = await harness.request("PATCH", path, {"plan": "pro"}, key=operator)
        assert changed.status == 200
        assert (
            await harness.request("PATCH", path, {"brand": "default"}, key=operator)
        ).status == 200
        assert (
            await harness.request("PATCH", f"/v1/tenants/{shop['id']}", pool, key=operator)
        ).status == 200


async def check_limits(harness: IngestHarness, operator: str, key: str, tenant_id: str) -> None:
    headers = {"X-Tenant-Id": tenant_id}
    add = partial(harness.request, "POST", headers=headers)
    domain = {"name": "a.example.net", "vouched": True}
    assert (await add("/v1/domains", domain, key=operator)).status == 201
    second = await add("/v1/domains", {"name": "b.example.net"}, key=key)
    tenant = await add("/v1/tenants", {"name": "Blog"}, key=key)
    boxes = [{"address": f"{name}@a.example.net"} for name in "wxy"]
    three = await add("/v1/mailboxes/batch", boxes, key=key)
    for refused, pointer in (
        (second, "#/name"), (tenant, "#"), (three, "#/2/address"),
    ):  # fmt: skip
        assert refused.status == 422, refused.raw
        fault = refused.json["errors"][0]
        assert (fault["pointer"], fault["code"]) == (pointer, "too_many")
        assert "The plan Trial admits" in fault["detail"]
    assert (await add("/v1/mailboxes/batch", boxes[:2], key=key)).status == 201
    test = {"address": "t@a.example.net", "test": True}
    assert (await add("/v1/mailboxes", test, key=key)).status == 201
    assert (await add("/v1/mailboxes", boxes[2], key=key)).status == 422


async def test_an_account_over_its_plan_has_room_for_test_mailboxes(harness: IngestHarness) -> None:
    async with on_plan(harness, "pro") as account_id:
        operator = await harness.operator_key()
        domain: dict[str, object] = {"name": "a.example.net", "vouched": True}
        headers = {"X-Tenant-Id": harness.tenant_id}
        add = partial(harness.request, "POST", headers=headers)
        assert (await add("/v1/domains", domain, key=operator)).status == 201
        boxes = [{"address": f"{name}@a.example.net"} for name in "wxy"]
        assert (await add("/v1/mailboxes/batch", boxes, key=operator)).status == 201
        path = f"/v1/accounts/{account_id}"
        changed = await harness.request("PATCH", path, {"plan": "trial"}, key=operator)
        assert changed.status == 200
        test = {"address": "t@a.example.net", "test": True}
        made = await add("/v1/mailboxes", test, key=operator)
        assert made.status == 201, made.raw
