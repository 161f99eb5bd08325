"""Retention of events, on real PostgreSQL with days in the past."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from contracts.events.v1.events_pb2 import RecipientUnsubscribed
from kernel import clock, ids
from kernel.database import Database
from kernel.handler_result import HandlerResult
from services.events.domain.log_event import StatusRank
from services.events.handlers import LOGGED, REPEAT, TOO_OLD, EventLogHandler
from services.events.loops import retention
from services.events.loops.retention import RetentionMaintenance
from services.events.store import log, plan_retention
from tests.support.message_events import MessageEvents
from tests.support.stack import FreshDatabase, temporary_database

TODAY = datetime.now(UTC).date()


def run_scenario(database: FreshDatabase, scenario: Callable[[Database], Awaitable[None]]) -> None:
    async def main() -> None:
        system = Database(database.system("events"))
        try:
            await scenario(system)
        finally:
            await system.close()

    asyncio.run(main())


def message_of_day(day: date) -> MessageEvents:
    """A message that was accepted on this day."""
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    message = MessageEvents()
    first = str(ids.lower_bound_at(moment))[:14]
    message.message_id = first + message.message_id[14:]
    message.email_id = first + message.email_id[14:]
    message.ids |= {"message_id": message.message_id, "email_id": message.email_id}
    message.context.message_id, message.context.email_id = message.message_id, message.email_id
    return message


def maintenance(system: Database, **longer: int) -> RetentionMaintenance:
    """longer: days by account."""

    async def kept_longer(days: int) -> dict[str, int]:
        return {one: number for one, number in longer.items() if number > days}

    return RetentionMaintenance(system, log_days=30, kept_longer=kept_longer)


def partitions(database: FreshDatabase, table: str) -> list[date]:
    with database.connect() as connection:
        rows = connection.execute("SELECT * FROM events.day_partitions(%s)", (table,)).fetchall()
    return [row[0] for row in rows]  # type: ignore[misc]


def test_a_day_is_dropped_thirty_days_after_its_last_close(database: FreshDatabase) -> None:
    old, open_day = TODAY - timedelta(days=40), TODAY - timedelta(days=35)
    done, waiting = message_of_day(old), message_of_day(open_day)

    async def scenario(system: Database) -> None:
        handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)
        old_close = done.closed()
        old_close.closed_at.FromDatetime(datetime.now(UTC) - timedelta(days=31))
        async with system.transaction() as tx:
            await handler.on_event([done.accepted(), old_close, waiting.accepted()], tx)
        assert {old, open_day} <= set(partitions(database, "log"))
        await maintenance(system).run_once()
        assert old not in partitions(database, "log")
        assert old not in partitions(database, "state")
        assert open_day in partitions(database, "log")

    run_scenario(database, scenario)


def test_a_day_with_a_recent_close_is_kept(database: FreshDatabase) -> None:
    day = TODAY - timedelta(days=33)
    message = message_of_day(day)

    async def scenario(system: Database) -> None:
        handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)
        recent_close = message.closed()
        recent_close.closed_at.FromDatetime(datetime.now(UTC) - timedelta(days=29))
        async with system.transaction() as tx:
            await handler.on_event([message.accepted(), recent_close], tx)
        await maintenance(system).run_once()
        assert day in partitions(database, "log")

    run_scenario(database, scenario)


def test_only_events_older_than_the_window_are_dropped(
    database: FreshDatabase,
) -> None:
    ancient, fresh = message_of_day(TODAY - timedelta(days=60)), MessageEvents()

    async def scenario(system: Database) -> None:
        handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)
        async with system.transaction() as tx:
            results = await handler.on_event([ancient.accepted(), fresh.accepted()], tx)
        assert results[0] == TOO_OLD
        assert results[1] != TOO_OLD

    run_scenario(database, scenario)


def test_who_unsubscribes_by_a_link_that_outlived_the_log_is_logged_without_an_email(
    database: FreshDatabase,
) -> None:
    fresh = MessageEvents()
    gone = RecipientUnsubscribed(
        message_id=message_of_day(TODAY - timedelta(days=60)).message_id,
        tenant_id=fresh.tenant_id, recipient="ann@example.net", scope="all", method="page", day=1,
    )  # fmt: skip

    async def scenario(system: Database) -> None:
        handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)
        async with system.transaction() as tx:
            results = await handler.on_event([gone, fresh.accepted()], tx)
        assert results == [LOGGED, LOGGED]
        with database.connect() as owner:
            query = "SELECT email_id FROM events.unpartitioned_log WHERE subject_id = %s"
            assert owner.execute(query, (gone.message_id,)).fetchall() == [(None,)]

    run_scenario(database, scenario)


def test_messages_of_several_days_are_recorded_together(database: FreshDatabase) -> None:
    messages = [message_of_day(TODAY - timedelta(days=days)) for days in (20, 0, 7)] + [
        MessageEvents()
    ]

    async def scenario(system: Database) -> None:
        handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)
        for batch in (
            [message.accepted() for message in messages],
            [event for message in messages for event in message.delivered()[2:]],
            [event for message in messages for event in message.delivered()],
        ):
            async with system.transaction() as tx:
                results = await handler.on_event(batch, tx)
        assert [outcome in (LOGGED, REPEAT) for outcome in results] == [True] * 20
        assert results.count(LOGGED) == 4  # the four screenings
        with database.connect() as connection:
            for message in messages:
                states = connection.execute(
                    "SELECT s.seq, s.public_seq, s.rank, e.rank FROM events.state s"
                    " JOIN events.emails e USING (email_id) WHERE s.subject_id = %s",
                    (message.message_id,),
                ).fetchall()
                assert states == [(5, 2, StatusRank.DELIVERED, StatusRank.DELIVERED)]
        async with system.transaction() as tx:
            assert await log.find_open(tx, [message.message_id for message in messages]) == []

    run_scenario(database, scenario)


@pytest.mark.parametrize("known", [0, 2])
def test_events_that_arrive_twice_at_the_same_time_are_recorded_once(
    database: FreshDatabase, known: int
) -> None:
    message = MessageEvents()

    async def scenario(system: Database) -> None:
        handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)

        async def later() -> Sequence[HandlerResult]:
            async with system.transaction() as tx:
                return await handler.on_event(message.delivered(), tx)

        async with system.transaction() as tx:
            await handler.on_event(message.delivered()[:known], tx)
        async with system.transaction() as tx:
            assert LOGGED in await handler.on_event(message.delivered(), tx)
            other = asyncio.create_task(later())
            await asyncio.sleep(0.2)
            assert not other.done()
        assert set(await other) == {REPEAT}
        with database.connect() as connection:
            rows = connection.execute(
                "SELECT l.seq, l.public_seq, s.seq FROM events.log l JOIN events.state s"
                " USING (subject_id) WHERE subject_id = %s ORDER BY 1",
                (message.message_id,),
            ).fetchall()
        assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
        assert {row[1] for row in rows} == {0, 1, 2}
        assert {row[2] for row in rows} == {5}

    run_scenario(database, scenario)


def test_unpartitioned_events_are_deleted_by_age(database: FreshDatabase) -> None:
    async def scenario(system: Database) -> None:
        handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)
        message = MessageEvents()
        async with system.transaction() as tx:
            await handler.on_event([message.accepted(), message.complained()], tx)
        with database.connect() as connection:
            connection.execute(
                "UPDATE events.unpartitioned_log SET recorded_at = now() - interval '31 days'"
            )
            await maintenance(system).run_once()
            left = connection.execute("SELECT count(*) FROM events.unpartitioned_log").fetchone()
        assert left == (0,)

    run_scenario(database, scenario)


TABLES = ("log", "state", "emails", "tags", "engagement", "unpartitioned_log")


def left(database: FreshDatabase, message: MessageEvents) -> set[str]:
    """The tables that have something of its tenant."""
    with database.connect() as connection:
        return {
            table
            for table in TABLES
            if connection.execute(
                f"SELECT 1 FROM events.{table} WHERE tenant_id = %s".encode(), (message.tenant_id,)
            ).fetchone()
        }


def execute(database: FreshDatabase, *statements: bytes) -> None:
    with database.connect() as connection:
        for one in statements:
            connection.execute(one)


async def record_closed(system: Database, messages: Sequence[MessageEvents]) -> None:
    handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)
    for one in messages:
        close = one.closed()
        close.closed_at.FromDatetime(datetime.now(UTC) - timedelta(days=19))
        async with system.transaction() as tx:
            await handler.on_event([one.accepted(), close, one.complained()], tx)


@pytest.fixture
def empty(database_url: str, migrated_template: str) -> Iterator[FreshDatabase]:
    """Without the days of other tests, of which one is open and keeps those after it."""
    with temporary_database(database_url, template=migrated_template) as url:
        yield FreshDatabase(url)


def test_a_plan_keeps_the_mail_of_its_account_longer(
    empty: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Day by day of a clock that runs ahead, until nothing is left."""
    day, account = TODAY - timedelta(days=20), str(uuid4())
    kept, others = message_of_day(day), [message_of_day(day) for _ in range(3)]
    for one in (kept, *others):
        one.tags = {"campaign": "spring"}
        one.account_id = account if one is kept else str(uuid4())

    async def run(system: Database, days: int) -> None:
        moment = datetime.now(UTC) + timedelta(days=days)
        monkeypatch.setattr(clock, "now", lambda: moment)
        await maintenance(system, **{account: 90}).run_once()

    async def scenario(system: Database) -> None:
        next_day = message_of_day(day + timedelta(days=1))  # with which the emails of the day go
        await record_closed(system, (kept, *others, next_day))
        execute(empty, INSERT_OPENS, AGE)
        await run(system, 5)
        assert all(left(empty, one) >= set(TABLES[:4]) for one in (kept, *others))
        await run(system, 18)
        assert left(empty, kept) == set(TABLES)
        assert [left(empty, one) for one in others] == [set()] * 3
        await run(system, 69)
        assert left(empty, kept) == set(TABLES)
        await run(system, 73)
        assert left(empty, kept) == {"unpartitioned_log"}
        assert day not in partitions(empty, "log")
        execute(empty, AGE_MORE)
        await run(system, 74)
        assert left(empty, kept) == set()

    async def agree(_: Database) -> bool:
        return True

    monkeypatch.setattr(retention, "clocks_agree", agree)
    monkeypatch.setattr(plan_retention, "PAGE", 2)
    run_scenario(empty, scenario)


INSERT_OPENS = b"""
INSERT INTO events.engagement (subject_id, email_id, tenant_id)
SELECT subject_id, email_id, tenant_id FROM events.state
"""
AGE = b"UPDATE events.unpartitioned_log SET recorded_at = now() - interval '31 days'"
AGE_MORE = b"UPDATE events.unpartitioned_log SET recorded_at = now() - interval '91 days'"
