"""What events forgets, and when. On real PostgreSQL, at days long past."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from kernel import ids
from kernel.database import Database
from kernel.handler_result import HandlerResult
from services.events.domain.log_event import StatusRank
from services.events.handlers import LOGGED, REPEAT, TOO_OLD, Handlers
from services.events.loops.retention import Retention
from services.events.store import log
from tests.support.message_events import MessageEvents
from tests.support.stack import FreshDatabase

TODAY = datetime.now(UTC).date()


def play(database: FreshDatabase, scenario: Callable[[Database], Awaitable[None]]) -> None:
    async def alone() -> None:
        engine = Database(database.system("events"))
        try:
            await scenario(engine)
        finally:
            await engine.close()

    asyncio.run(alone())


def of_day(day: date) -> MessageEvents:
    """A message that was accepted then."""
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    message = MessageEvents()
    first = str(ids.lower_bound_at(moment))[:14]
    message.message_id = first + message.message_id[14:]
    message.email_id = first + message.email_id[14:]
    message.ids |= {"message_id": message.message_id, "email_id": message.email_id}
    message.context.message_id, message.context.email_id = message.message_id, message.email_id
    return message


def partitions(database: FreshDatabase, table: str) -> list[date]:
    with database.connect() as connection:
        rows = connection.execute("SELECT * FROM events.day_partitions(%s)", (table,)).fetchall()
    return [row[0] for row in rows]  # type: ignore[misc]


def test_a_day_goes_thirty_days_after_its_last_close(database: FreshDatabase) -> None:
    old, open_day = TODAY - timedelta(days=40), TODAY - timedelta(days=35)
    done, waiting = of_day(old), of_day(open_day)

    async def scenario(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
        long_ago = done.closed()
        long_ago.closed_at.FromDatetime(datetime.now(UTC) - timedelta(days=31))
        async with engine.transaction() as tx:
            await handlers.on_any([done.accepted(), long_ago, waiting.accepted()], tx)
        assert {old, open_day} <= set(partitions(database, "log"))
        await Retention(engine, log_days=30).run_once()
        assert old not in partitions(database, "log")
        assert old not in partitions(database, "state")
        assert open_day in partitions(database, "log")
        assert TODAY + timedelta(days=2) in partitions(database, "log")

    play(database, scenario)


def test_a_day_closed_lately_stays(database: FreshDatabase) -> None:
    day = TODAY - timedelta(days=33)
    message = of_day(day)

    async def scenario(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
        lately = message.closed()
        lately.closed_at.FromDatetime(datetime.now(UTC) - timedelta(days=29))
        async with engine.transaction() as tx:
            await handlers.on_any([message.accepted(), lately], tx)
        await Retention(engine, log_days=30).run_once()
        assert day in partitions(database, "log")

    play(database, scenario)


def test_a_fact_older_than_the_window_is_dropped_and_its_neighbours_are_not(
    database: FreshDatabase,
) -> None:
    ancient, fresh = of_day(TODAY - timedelta(days=60)), MessageEvents()

    async def scenario(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
        async with engine.transaction() as tx:
            outcomes = await handlers.on_any([ancient.accepted(), fresh.accepted()], tx)
        assert outcomes[0] == TOO_OLD
        assert outcomes[1] != TOO_OLD

    play(database, scenario)


def test_messages_of_several_days_are_recorded_together(database: FreshDatabase) -> None:
    crowd = [of_day(TODAY - timedelta(days=days)) for days in (20, 0, 7)] + [MessageEvents()]

    async def scenario(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
        for batch in (
            [message.accepted() for message in crowd],
            [event for message in crowd for event in message.delivered()[2:]],
            [event for message in crowd for event in message.delivered()],
        ):
            async with engine.transaction() as tx:
                outcomes = await handlers.on_any(batch, tx)
        assert [outcome in (LOGGED, REPEAT) for outcome in outcomes] == [True] * 20
        assert outcomes.count(LOGGED) == 4  # the four screenings
        with database.connect() as connection:
            for message in crowd:
                states = connection.execute(
                    "SELECT s.seq, s.public_seq, s.rank, e.rank FROM events.state s"
                    " JOIN events.emails e USING (email_id) WHERE s.subject_id = %s",
                    (message.message_id,),
                ).fetchall()
                assert states == [(5, 2, StatusRank.DELIVERED, StatusRank.DELIVERED)]
        async with engine.transaction() as tx:
            assert await log.find_open(tx, [message.message_id for message in crowd]) == []

    play(database, scenario)


@pytest.mark.parametrize("known", [0, 2])
def test_the_same_facts_at_the_same_time_are_recorded_once(
    database: FreshDatabase, known: int
) -> None:
    message = MessageEvents()

    async def scenario(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)

        async def later() -> Sequence[HandlerResult]:
            async with engine.transaction() as tx:
                return await handlers.on_any(message.delivered(), tx)

        async with engine.transaction() as tx:
            await handlers.on_any(message.delivered()[:known], tx)
        async with engine.transaction() as tx:
            assert LOGGED in await handlers.on_any(message.delivered(), tx)
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

    play(database, scenario)


def test_facts_and_tasks_go_by_their_age(database: FreshDatabase) -> None:
    async def scenario(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
        message = MessageEvents()
        async with engine.transaction() as tx:
            await handlers.on_any([message.accepted(), message.complained()], tx)
        with database.connect() as connection:
            connection.execute(
                "UPDATE events.unpartitioned_log SET recorded_at = now() - interval '31 days'"
            )
            await Retention(engine, log_days=30).run_once()
            left = connection.execute("SELECT count(*) FROM events.unpartitioned_log").fetchone()
        assert left == (0,)

    play(database, scenario)
