"""Usage is exported to a billing system once, by the contracts that the systems have: Stripe and
Lago refuse an identifier that they know, OpenMeter ignores it."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from aiohttp import web

from contracts.ingest.v1.directory_pb2 import Account
from kernel import clock
from kernel.database import Database
from kernel.ids import uuid7_text
from kernel.lease import Lease
from services.ingest.clients.billing import BillingClient
from services.ingest.domain.problem import unavailable
from services.ingest.domain.usage_export import System
from services.ingest.loops import usage_exports
from services.ingest.loops.usage_exports import LOOK_BACK, UsageExporter
from tests.support.ingest import IngestHarness
from tests.support.receiver import Receiver, receiving
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")
TODAY = datetime.now(UTC).date()
FIRST = (TODAY - LOOK_BACK).replace(day=1)
YESTERDAY = TODAY - timedelta(days=1)
PATHS: Mapping[System, str] = {
    "stripe": "/v1/billing/meter_events",
    "lago": "/api/v1/events",
    "openmeter": "/api/v1/events",
}


class BillingSystem:
    """What each system does with the events that it receives. counted: value by identifier.
    fail: the next responses."""

    def __init__(self, receiver: Receiver, system: System) -> None:
        self.counted: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []
        self.fail: list[int] = []
        self._system = system
        receiver.behaviors[PATHS[system]] = self._respond

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer sk_1"
        if self.fail:
            return web.Response(status=self.fail.pop(0))
        identifier, value = READERS[self._system](await request.read(), self.events)
        if identifier in self.counted and self._system == "stripe":
            error = {"message": f"An event already exists with identifier {identifier}."}
            return web.json_response({"error": error}, status=400)
        if identifier in self.counted and self._system == "lago":
            details = {"transaction_id": ["value_already_exist"]}
            return web.json_response({"status": 422, "error_details": details}, status=422)
        self.counted.setdefault(identifier, value)
        return web.json_response({}, status=200)


def read_stripe(body: bytes, events: list[dict[str, Any]]) -> tuple[str, int]:
    fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    events.append(fields)
    return fields["identifier"], int(fields["payload[value]"])


def read_lago(body: bytes, events: list[dict[str, Any]]) -> tuple[str, int]:
    event = json.loads(body)["event"]
    events.append(event)
    return event["transaction_id"], event["properties"]["value"]


def read_openmeter(body: bytes, events: list[dict[str, Any]]) -> tuple[str, int]:
    event = json.loads(body)
    events.append(event)
    return event["id"], event["data"]["value"]


READERS: Mapping[System, Callable[[bytes, list[dict[str, Any]]], tuple[str, int]]] = {
    "stripe": read_stripe,
    "lago": read_lago,
    "openmeter": read_openmeter,
}


class Run:
    """An exporter of an account with a billing_id. sends: by day. refused: accounts that cannot be
    counted."""

    def __init__(self, harness: IngestHarness, database: Database, lease: Lease) -> None:
        self.sends: dict[date, int] = {}
        self.account_id = ""
        self.refused: set[str] = set()
        self._harness = harness
        self._database = database
        self.lease = lease

    async def sends_of(self, account_id: str, month: date) -> Mapping[date, int]:
        if account_id in self.refused:
            raise unavailable()
        assert account_id == self.account_id
        return {day: n for day, n in self.sends.items() if day.replace(day=1) == month}

    async def export(self, client: BillingClient) -> None:
        await UsageExporter(self.lease, client, self.sends_of).run_once()

    def forget_sent(self) -> None:
        """As after a process that died before it recorded them, or a database of yesterday."""
        with self._harness.database.connect() as connection:
            connection.execute("UPDATE ingest.usage_exports SET sent_at = NULL")

    def unsent(self) -> int:
        with self._harness.database.connect() as connection:
            query = "SELECT count(*) FROM ingest.usage_exports WHERE sent_at IS NULL"
            return int(str(connection.execute(query).fetchall()[0][0]))


@asynccontextmanager
async def running(harness: IngestHarness, system: System) -> AsyncIterator[tuple[Any, ...]]:
    database = Database(harness.database.system("ingest"), name="test")
    lease = Lease(database, "ingest", "test")
    assert await lease.try_acquire()
    run = Run(harness, database, lease)
    with harness.database.connect() as connection:  # of other tests
        connection.execute("UPDATE ingest.accounts SET billing_id = ''")
        connection.execute("DELETE FROM ingest.usage_exports")
    async with harness.directory() as directory:
        account = Account(account_id=uuid7_text(), name="Acme", billing_id="cus_1")
        await directory.store.save(account)
    run.account_id = account.account_id
    async with receiving() as receiver:
        client = BillingClient(system, receiver.url, "sk_1")
        try:
            yield run, client, BillingSystem(receiver, system)
        finally:
            await client.close()
            await lease.release()
            await database.close()


@pytest.mark.parametrize("system", PATHS)
async def test_each_day_is_counted_once_however_often_it_is_exported(
    harness: IngestHarness, system: System
) -> None:
    async with running(harness, system) as (run, client, billing):
        run.sends = {YESTERDAY: 7, TODAY: 5}
        with harness.database.connect() as connection:
            connection.execute(
                "INSERT INTO ingest.resource_counts VALUES (%s, %s, 'pro', 3, 4)",
                (run.account_id, YESTERDAY),
            )
        await run.export(client)
        day = f"{run.account_id}:{{}}:{YESTERDAY}:1"
        counted = {day.format("sends"): 7, day.format("domains"): 3, day.format("mailboxes"): 4}
        assert billing.counted == counted  # today has not ended
        sent = len(billing.events)
        await run.export(client)
        assert len(billing.events) == sent
        run.forget_sent()
        await run.export(client)
        assert len(billing.events) == 2 * sent
        assert (billing.counted, run.unsent()) == (counted, 0)
        run.sends[YESTERDAY] = 9  # events that were late
        await run.export(client)
        assert billing.counted == counted | {f"{run.account_id}:sends:{YESTERDAY}:2": 2}
        run.sends[YESTERDAY] = 8
        await run.export(client)
        assert len(billing.counted) == 4


class Died(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("system", PATHS)
async def test_a_process_that_dies_when_a_day_is_sent_counts_it_once(
    harness: IngestHarness, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(name: str) -> None:
        assert name == "ingest.usage.exported"
        raise Died

    async with running(harness, system) as (run, client, billing):
        run.sends = {YESTERDAY: 7}
        with monkeypatch.context() as patched:
            patched.setattr(usage_exports, "failpoint", die)
            with pytest.raises(Died):
                await run.export(client)
        counted = {f"{run.account_id}:sends:{YESTERDAY}:1": 7}
        assert (billing.counted, run.unsent()) == (counted, 1)
        await run.export(client)
        assert (billing.counted, run.unsent()) == (counted, 0)


async def test_what_the_system_refuses_or_misses_does_not_hold_up_others(
    harness: IngestHarness,
) -> None:
    async with running(harness, "stripe") as (run, client, billing):
        run.sends = {YESTERDAY: 7, FIRST: 2}
        billing.fail = [429]
        await run.export(client)
        assert (billing.counted, run.unsent()) == ({}, len(run.sends))
        billing.fail = [400]  # such as one of an unknown customer
        await run.export(client)
        assert (len(billing.counted), run.unsent()) == (len(run.sends) - 1, 1)
        await run.export(client)
        assert sum(billing.counted.values()) == sum(run.sends.values())
        assert run.unsent() == 0


async def test_what_the_last_open_day_of_a_month_counts_is_exported(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month is open for four days more."""
    last = FIRST - timedelta(days=1)
    day_after = datetime.combine(FIRST + timedelta(days=4), datetime.min.time(), UTC)
    async with running(harness, "stripe") as (run, client, billing):
        monkeypatch.setattr(clock, "now", lambda: day_after)
        run.sends = {last: 7}
        await run.export(client)
        assert billing.counted == {f"{run.account_id}:sends:{last}:1": 7}
        monkeypatch.setattr(clock, "now", lambda: day_after + timedelta(days=1))
        run.sends = {last: 8}
        await run.export(client)
        assert len(billing.counted) == 1


async def test_the_last_usage_of_a_closed_account_is_exported(harness: IngestHarness) -> None:
    async with running(harness, "stripe") as (run, client, billing):
        run.sends = {YESTERDAY: 7}
        async with harness.directory() as directory:
            mine = Account(account_id=run.account_id, name="Acme", billing_id="cus_1", deleted=True)
            gone = Account(account_id=uuid7_text(), name="Gone", billing_id="cus_0", deleted=True)
            for one in (mine, gone):
                await directory.store.save(one)
        with harness.database.connect() as connection:
            for account, day in ((mine, YESTERDAY), (gone, FIRST - timedelta(days=1))):
                connection.execute(
                    "INSERT INTO ingest.resource_counts VALUES (%s, %s, 'pro', 3, 4)",
                    (account.account_id, day),
                )
        await run.export(client)
        meters = {"sends": 7, "domains": 3, "mailboxes": 4}
        assert billing.counted == {
            f"{run.account_id}:{meter}:{YESTERDAY}:1": value for meter, value in meters.items()
        }


async def test_an_account_that_cannot_be_counted_does_not_hold_up_others(
    harness: IngestHarness,
) -> None:
    async with running(harness, "stripe") as (run, client, billing):
        run.sends, run.refused = {YESTERDAY: 7}, {str(UUID(int=1))}
        async with harness.directory() as directory:
            account = Account(account_id=next(iter(run.refused)), name="First", billing_id="cus_0")
            await directory.store.save(account)
        await run.export(client)
        assert billing.counted == {f"{run.account_id}:sends:{YESTERDAY}:1": 7}
        run.refused.add(run.account_id)
        run.forget_sent()
        await run.export(client)
        assert run.unsent() == 0


async def test_the_events_are_those_of_the_contracts(harness: IngestHarness) -> None:
    at = datetime.combine(YESTERDAY, datetime.min.time(), UTC)
    for system in PATHS:
        async with running(harness, system) as (run, client, billing):
            run.sends = {YESTERDAY: 7}
            await run.export(client)
            identifier = f"{run.account_id}:sends:{YESTERDAY}:1"
            wanted: dict[System, dict[str, Any]] = {
                "stripe": {
                    "event_name": "sends", "identifier": identifier,
                    "timestamp": str(int(at.timestamp())), "payload[stripe_customer_id]": "cus_1",
                    "payload[value]": "7",
                },
                "lago": {
                    "transaction_id": identifier, "external_subscription_id": "cus_1",
                    "code": "sends", "timestamp": int(at.timestamp()), "properties": {"value": 7},
                },
                "openmeter": {
                    "specversion": "1.0", "id": identifier, "source": "usage", "type": "sends",
                    "subject": "cus_1", "time": f"{YESTERDAY}T00:00:00Z", "data": {"value": 7},
                },
            }  # fmt: skip
            assert billing.events == [wanted[system]]
