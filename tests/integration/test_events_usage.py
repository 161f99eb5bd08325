"""Usage is the number of distinct live messages that were assigned, whatever is repeated, killed or
set back; what is counted late is billed to the open month."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message

from contracts.events.v1.events_service_pb2 import GetUsageRequest, GetUsageResponse
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Database
from kernel.ids import uuid7_text
from kernel.rpc import RpcError
from kernel.topics import event_id
from services.events.app import SESSION_SETTINGS
from services.events.domain.figures.definitions import COUNTER_NAMES
from services.events.domain.usage import earlier
from services.events.handlers import EventLogHandler
from services.events.store.figures.deltas import COLUMNS
from services.events.store.figures.folding import fold_deltas
from tests.support.events import Running, ScenarioRunner, run_scenario
from tests.support.figure_queries import publish, wait_counted, wait_folded
from tests.support.figures import Life, lives
from tests.support.stack import FreshDatabase

__all__ = ["run_scenario"]
SEEDS = 100
EPOCH = date(1970, 1, 1)


def sent_of(some: Sequence[Life]) -> Counter[tuple[str, date]]:
    """Distinct live messages with an assignment, by tenant and the day of the first."""
    first: dict[str, tuple[str, datetime]] = {}
    for life in some:
        for event in () if life.test else life.events:
            if isinstance(event, DeliveryAssigned):
                at = event.assigned_at.ToDatetime(UTC)
                known = first.get(event.message_id, (life.tenant_id, at))
                first[event.message_id] = min(known, (life.tenant_id, at))
    return Counter((tenant_id, at.date()) for tenant_id, at in first.values())


def months_of(some: Sequence[Life]) -> set[date]:
    return {day.replace(day=1) for _, day in sent_of(some)}


async def usage(events: Running, **fields: Any) -> GetUsageResponse:  # noqa: ANN401
    return await events.call(events.stub.GetUsage, GetUsageRequest(**fields))


async def check_usage(events: Running, some: Sequence[Life]) -> None:
    wanted, account_id = sent_of(some), some[0].account_id
    live = [life for life in some if not life.test]
    found: Counter[str] = Counter()
    for month in months_of(some):
        named = {"account_id": account_id, "month": f"{month:%Y-%m}"}
        days = await usage(events, by="day", **named)
        tenants = await usage(events, by="tenant", **named)
        found += Counter({one.key: one.sent for one in days.rows if one.sent})
        own = {t: n for (t, day), n in wanted.items() if day.replace(day=1) == month}
        assert {one.key for one in tenants.rows if one.sent} == own.keys()
        [whole] = (await usage(events, **named)).rows
        assert whole.sent == sum(one.sent for one in tenants.rows)
        assert whole.accepted == sum(
            life.accepted_at.date().replace(day=1) == month for life in live
        )
        assert whole.sent_of_earlier_months == 0
    by_day: Counter[str] = Counter()
    for (_, day), number in wanted.items():
        by_day[str(day)] += number
    assert found == by_day
    months = events.rows(
        "SELECT month, sent FROM events.usage_months WHERE account_id = %s", (account_id,)
    )
    assert sum(sent for _, sent in months) == wanted.total()


def test_usage_is_what_was_assigned_also_when_everything_is_published_again(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        random, now = Random(5), datetime.now(UTC)
        some = lives(random, 150, tenants=[str(uuid4()), str(uuid4())], now=now)
        await publish(events, some, random)
        await wait_counted(events, some)
        await check_usage(events, some)
        await publish(events, some, random)
        last = lives(random, 1, tenants=[some[0].tenant_id], now=now)
        last[0].account_id = some[0].account_id
        for event in last[0].events:
            if event.DESCRIPTOR.name == "MessageAccepted":
                event.account_id = some[0].account_id  # type: ignore[attr-defined]
        await events.publish(*last[0].events)
        await wait_counted(events, [*some, *last])
        await check_usage(events, [*some, *last])

    run_scenario.shared(scenario)


async def add_delta(events: Running, tenant_id: str, day: date, **counted: int) -> None:
    hour = (day - EPOCH).days * 24
    columns = dict.fromkeys(COLUMNS.split(", "), "''")
    columns |= dict.fromkeys(("first_attempt", "delivery", *COUNTER_NAMES), "NULL")
    columns |= {
        "tenant_id": f"'{tenant_id}'",
        "cohort": str(hour),
        "hour": str(hour),
        "tags": "'{}'",
    }
    columns |= {name: str(number) for name, number in counted.items()}
    with events.database.connect() as connection:
        connection.execute(
            f"INSERT INTO events.stats_deltas ({', '.join(columns)})"
            f" VALUES ({', '.join(columns.values())})".encode()
        )
    await wait_folded(events)


def test_what_is_counted_after_the_end_of_its_month_is_billed_to_the_open_one(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        tenant_id, account_id = str(uuid4()), str(uuid4())
        with events.database.connect() as connection:
            connection.execute(
                "INSERT INTO events.tenant_accounts VALUES (%s, %s)", (tenant_id, account_id)
            )
        today = datetime.now(UTC).date()
        month = today.replace(day=1)
        closed = earlier(month, 2)  # whose end is more than the open days ago
        await add_delta(events, tenant_id, closed, sent=7)
        await add_delta(events, tenant_id, closed, sent=-2)
        await add_delta(events, tenant_id, today, sent=3, accepted=4)
        names = {"account_id": account_id, "month": f"{month:%Y-%m}"}
        [whole] = (await usage(events, **names)).rows
        assert (whole.sent, whole.sent_of_earlier_months, whole.sent_today) == (8, 5, 3)
        assert (whole.accepted, whole.accepted_today) == (4, 4)
        assert not (await usage(events, account_id=account_id, month=f"{closed:%Y-%m}")).rows
        assert not (await usage(events, account_id=str(uuid4()), month=f"{month:%Y-%m}")).rows
        for field, wrong in (
            ("period", {"account_id": account_id, "month": "2026-13"}),
            ("by", {"account_id": account_id, "month": "2026-01", "by": "hour"}),
        ):
            with pytest.raises(RpcError) as refused:
                await usage(events, **wrong)
            assert refused.value.field == field

    run_scenario.shared(scenario)


class Killed(Exception):
    """The process ended here."""


class Consumer:
    """Reads a log of events in batches, as a process that is killed at random places and whose
    offset is set back at random. It ends when it has read everything."""

    def __init__(self, database: Database, events: Sequence[Message], random: Random) -> None:
        self._database = database
        self._events = events
        self._random = random
        self._offset = 0

    async def run(self) -> None:
        chaos = 40
        while self._offset < len(self._events) or chaos:
            chaos = max(0, chaos - 1)
            try:
                await self._step(chaos > 0)
            except Killed:
                continue
            if chaos and self._random.random() < 0.2:
                self._offset = max(0, self._offset - self._random.randrange(100))
        while await self._fold(kill=False):
            pass

    async def _step(self, chaos: bool) -> None:
        kill = self._random.random() if chaos else 1.0
        read = self._events[self._offset : self._offset + self._random.randrange(1, 40)]
        batch = list({event_id(event): event for event in read}.values())  # as the kernel does
        handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)
        async with self._database.transaction() as tx:
            if batch:
                await handler.on_event(batch, tx)
            if kill < 0.15:
                raise Killed
        if kill < 0.3:  # between the commit and the offset
            raise Killed
        self._offset += len(read)
        if self._random.random() < 0.3:
            await self._fold(kill=chaos and self._random.random() < 0.5)

    async def _fold(self, *, kill: bool) -> int:
        async with self._database.transaction() as tx:
            folded = await fold_deltas(tx, self._random.choice((3, 5_000)))
            if kill:
                raise Killed
        return folded


def test_a_hundred_random_runs_with_faults_count_each_message_once(
    database: FreshDatabase,
) -> None:
    """Any order, repeats, batches that are lost, commits without offsets, offsets set back."""

    async def main() -> None:
        events_database = Database(
            database.system("events"), connections_max=1, name="test", session=SESSION_SETTINGS
        )
        try:
            for seed in range(SEEDS):
                await check_run(events_database, seed)
        finally:
            await events_database.close()

    asyncio.run(main())


async def check_run(database: Database, seed: int) -> None:
    random = Random(seed)
    tenants = [uuid7_text(), uuid7_text()]
    some = lives(random, 12, tenants=tenants, now=datetime.now(UTC))
    events = [event for life in some for event in life.events]
    events += random.sample(events, len(events) // 5)
    random.shuffle(events)
    await Consumer(database, events, random).run()
    async with database.transaction() as tx:
        rows = await tx.rows(
            "SELECT tenant_id::text, day, sum(sent)::int, sum(accepted)::int FROM events.usage_days"
            " WHERE tenant_id = ANY(%s::uuid[]) GROUP BY 1, 2",
            (tenants,),
        )
        months = await tx.rows(
            "SELECT sum(sent)::int FROM events.usage_months WHERE account_id = %s",
            (UUID(some[0].account_id),),
        )
    assert {(tenant, day): sent for tenant, day, sent, _ in rows if sent} == sent_of(some), seed
    assert sum(row[3] for row in rows) == sum(not life.test for life in some), seed
    assert (months[0][0] or 0) == sent_of(some).total(), seed
