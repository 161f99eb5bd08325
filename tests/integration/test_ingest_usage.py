"""Usage and invoices: what the events service counted, and what there is, by the price book."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from contracts.events.v1.events_service_pb2 import GetUsageRequest, GetUsageResponse, UsageRow
from contracts.events.v1.events_service_pb2_grpc import EventsServiceServicer
from contracts.ingest.v1.directory_pb2 import Account
from kernel.database import Database
from kernel.ids import NIL
from kernel.rpc import Context
from services.ingest.domain.invoice import next_month
from services.ingest.store.resource_counts import count_page
from tests.support.grpc_client import client, fields_of, without_nothing
from tests.support.ingest import IngestHarness
from tests.support.polling import until
from tests.support.stack import harness_fixture

TODAY = datetime.now(UTC).date()
MONTH = TODAY.replace(day=1)
PERIOD = f"{MONTH:%Y-%m}"
EARLIER = f"{MONTH.year - 1}-01"


class CountedSends(EventsServiceServicer):
    """Stands in for the events service."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[UsageRow]] = {}
        self.requests: list[GetUsageRequest] = []

    async def GetUsage(self, request: GetUsageRequest, _: Context) -> GetUsageResponse:  # noqa: N802
        self.requests.append(request)
        return GetUsageResponse(rows=self.rows.get((request.month, request.by), []))


WITH_HOST = partial(IngestHarness, extra={"bounce_mx": "mx.example.net"})
harness = harness_fixture(WITH_HOST, scope="function")


@asynccontextmanager
async def counting(harness: IngestHarness) -> AsyncIterator[CountedSends]:
    """ingest, with replies in the place of the events service."""
    events = harness.events = CountedSends()  # type: ignore[abstract]
    async with harness.running():
        yield events


async def golden_account(harness: IngestHarness, counted: CountedSends) -> tuple[Any, str, str]:
    """An account of the golden invoice: it, its key, and that of an operator."""
    operator = await harness.operator_key()
    account, key = await harness.make_account(operator, "Acme")
    await harness.request("PATCH", f"/v1/accounts/{account['id']}", {"plan": "pro"}, key=operator)
    shop = await harness.make("/v1/tenants", key, name="Shop")
    headers = {"X-Tenant-Id": shop["id"]}
    for name in ("a", "b", "c"):
        body: dict[str, object] = {"name": f"{name}.example.net", "vouched": True}
        made = await harness.request("POST", "/v1/domains", body, key=operator, headers=headers)
        assert made.status == 201, made.raw
    addresses: list[dict[str, object]] = [{"address": f"{name}@a.example.net"} for name in "wxyz"]
    addresses.append({"address": "t@a.example.net", "test": True})
    made = await harness.request("POST", "/v1/mailboxes/batch", addresses, key=key, headers=headers)
    assert made.status == 201, made.raw
    counted.rows[PERIOD, ""] = [
        UsageRow(accepted=12_400, sent=12_345, accepted_today=40, sent_today=35)
    ]
    return account, key, operator


async def get(harness: IngestHarness, path: str, key: str, **headers: str) -> Any:  # noqa: ANN401
    found = await harness.request("GET", path, key=key, headers=headers)
    assert found.status == 200, found.raw
    return found.json


async def test_the_golden_invoice_and_its_evidence(harness: IngestHarness) -> None:
    async with counting(harness) as counted:
        account, key, operator = await golden_account(harness, counted)
        invoice = await get(harness, "/v1/invoices/preview", key)
        assert (invoice["total"], invoice["currency"]) == ("615.35", "USD")
        assert (invoice["period"], invoice["status"], invoice["plan"]) == (PERIOD, "open", "pro")
        shown = {
            one["item"]: (one["quantity"], one["billed"], one["amount"]) for one in invoice["lines"]
        }
        assert shown == {
            "plan": (1, 1, "599.00"),
            "sends": (12_345, 2_345, "2.35"),
            "domains": (3, 3, "6.00"),
            "mailboxes": (4, 4, "8.00"),
        }
        links = {one["item"]: one["evidence"] for one in invoice["lines"]}
        last = date.fromordinal(next_month(MONTH).toordinal() - 1)
        assert links["sends"] == (
            f"/v1/emails/metrics?metrics=sent&dimensions=period&start_date={MONTH}&end_date={last}"
        )
        assert links["plan"] is None

        async def is_counted() -> bool:
            query = (
                "SELECT domains, mailboxes, plan FROM ingest.resource_counts WHERE account_id = %s"
            )
            with harness.database.connect() as connection:
                rows = connection.execute(query, (account["id"],)).fetchall()
            return rows == [(3, 4, "pro")]

        await run_count(harness)
        await until(is_counted)
        counted.rows[PERIOD, "day"] = [UsageRow(key=str(TODAY), accepted=40, sent=35)]
        evidence = await get(harness, links["mailboxes"], key)
        assert evidence["breakdown"] == [
            {"day": str(TODAY), "accepted": 40, "sent": 35, "domains": 3, "mailboxes": 4}
        ]
        named = f"/v1/invoices/preview?account_id={account['id']}"
        assert await get(harness, named, operator) == invoice


async def run_count(harness: IngestHarness) -> None:
    database = Database(harness.database.system("ingest"), name="test")
    async with database.transaction() as tx:
        await count_page(tx, after=NIL)
    await database.close()


async def test_usage_has_the_form_of_resend_with_additions(harness: IngestHarness) -> None:
    async with counting(harness) as counted:
        _, key, _ = await golden_account(harness, counted)
        usage = await get(harness, "/v1/usage", key)
        assert usage["emails"]["monthly"] == {
            "used": 12_400, "limit": None, "sent": 12_345, "received": 0,
            "resets_at": f"{next_month(MONTH)}T00:00:00.000Z", "sent_of_earlier_months": 0,
        }  # fmt: skip
        assert (usage["emails"]["daily"]["used"], usage["emails"]["daily"]["sent"]) == (40, 35)
        assert (usage["domains"], usage["mailboxes"]) == (
            {"used": 3, "limit": None},
            {"used": 4, "limit": None},
        )
        assert usage["rate_limit"]["duration"] == "1000ms"
        assert "breakdown" not in usage
        earlier = await get(harness, f"/v1/usage?period={EARLIER}", key)
        assert (earlier["emails"]["daily"], earlier["domains"]["used"]) == (None, 0)
        tenant = (await get(harness, "/v1/tenants", key))["data"][0]["id"]
        counted.rows[PERIOD, "tenant"] = [UsageRow(key=tenant, accepted=12_400, sent=12_345)]
        parts = await get(harness, "/v1/usage?by=tenant", key)
        assert parts["breakdown"] == [{"tenant_id": tenant, "accepted": 12_400, "sent": 12_345}]
        own = await get(harness, "/v1/usage", key, **{"X-Tenant-Id": tenant})
        assert own["plan"] is None  # a plan is the account's
        assert counted.requests[-1].tenant_id == tenant
        past = await get(harness, f"/v1/usage?period={EARLIER}", key, **{"X-Tenant-Id": tenant})
        assert (past["domains"]["used"], past["mailboxes"]["used"]) == (3, 4)  # what there is now


async def test_corrections_of_closed_months_are_a_line(harness: IngestHarness) -> None:
    async with counting(harness) as counted:
        _, key, _ = await golden_account(harness, counted)
        counted.rows[PERIOD, ""] = [UsageRow(sent=15_000, sent_of_earlier_months=2_655)]
        invoice = await get(harness, "/v1/invoices/preview", key)
        assert invoice["total"] == "618.00"
        line = invoice["lines"][-1]
        assert (line["item"], line["quantity"], line["amount"]) == ("corrections", 2_655, "2.65")
        closed = await get(harness, f"/v1/invoices/preview?period={EARLIER}", key)
        assert (closed["status"], closed["total"]) == ("closed", "599.00")


async def test_a_month_is_billed_by_the_plan_of_its_last_day(harness: IngestHarness) -> None:
    async with counting(harness) as counted:
        account, key, _ = await golden_account(harness, counted)
        with harness.database.connect() as connection:
            for day, plan, mailboxes in ((1, "pro", 9), (2, "starter", 31)):
                connection.execute(
                    "INSERT INTO ingest.resource_counts VALUES (%s, %s, %s, 1, %s)",
                    (account["id"], date.fromisoformat(f"{EARLIER}-0{day}"), plan, mailboxes),
                )
        invoice = await get(harness, f"/v1/invoices/preview?period={EARLIER}", key)
        assert (invoice["plan"], invoice["total"]) == ("starter", "202.00")


async def test_the_last_month_of_a_closed_account_is_billed(harness: IngestHarness) -> None:
    async with counting(harness) as counted:
        account, _, operator = await golden_account(harness, counted)
        database = Database(harness.database.system("ingest"), name="test")
        try:
            async with database.transaction() as tx:
                await count_page(tx, after=NIL)
        finally:
            await database.close()
        async with harness.directory() as directory:
            [record] = await directory.store.find_by_id_or_name(Account, account["id"])
            record.deleted = True
            await directory.store.save(record)
        query = f"account_id={account['id']}&period"
        invoice = await get(harness, f"/v1/invoices/preview?{query}={PERIOD}", operator)
        assert (invoice["plan"], invoice["total"]) == ("pro", "615.35")
        usage = await get(harness, f"/v1/usage?{query}={PERIOD}", operator)
        assert usage["emails"]["monthly"]["sent"] == 12_345
        other = await get(harness, f"/v1/invoices/preview?{query}={EARLIER}", operator)
        assert (other["plan"], other["lines"]) == (None, [])  # it did not exist then


async def test_what_is_refused(harness: IngestHarness) -> None:
    async with counting(harness) as counted:
        account, key, operator = await golden_account(harness, counted)
        other, other_key = await harness.make_account(operator, "Other")
        for path, who, status, name, pointer in (
            ("/v1/usage?period=2026-13", key, 422, "validation_error", "#/query/period"),
            ("/v1/usage?by=hour", key, 422, "validation_error", "#/query/by"),
            ("/v1/usage", operator, 422, "missing_required_field", "#/query/account_id"),
            (f"/v1/usage?account_id={account['id']}", other_key, 404, "not_found", None),
            (f"/v1/usage?account_id={uuid4()}", operator, 404, "not_found", None),
            ("/v1/invoices/preview", operator, 422, "missing_required_field", "#/query/account_id"),
            (f"/v1/invoices/preview?account_id={other['id']}", key, 404, "not_found", None),
        ):
            refused = await harness.request("GET", path, key=who)
            assert (refused.status, refused.json["name"]) == (status, name), path
            if pointer:
                assert refused.json["errors"][0]["pointer"] == pointer
        free = await get(harness, "/v1/invoices/preview", other_key)
        assert (free["plan"], free["lines"], free["total"]) == (None, [], "0.00")


async def test_the_rpcs_return_the_same(harness: IngestHarness) -> None:
    counted = CountedSends()  # type: ignore[abstract]
    harness.events = counted
    async with client(harness) as rpc:
        account, key, operator = await golden_account(harness, counted)
        usage = (await rpc.call("GetUsage", key)).usage
        rest = await get(harness, "/v1/usage", key)
        assert fields_of(usage) == as_text(without_nothing(rest))
        invoice = (await rpc.call("PreviewInvoice", operator, account_id=account["id"])).invoice
        rest = await get(harness, "/v1/invoices/preview", key)
        assert fields_of(invoice) == as_text(without_nothing(rest))
        reason, *_ = await rpc.refusal("GetUsage", key, by="hour")
        assert reason == "validation_error"


def as_text(values: Any) -> Any:  # noqa: ANN401 - JSON
    """Large numbers are text in the JSON of protobuf."""
    if isinstance(values, dict):
        return {name: as_text(one) for name, one in values.items()}
    if isinstance(values, list):
        return [as_text(one) for one in values]
    return str(values) if isinstance(values, int) else values
