"""What events forgets, and when. On real PostgreSQL, at days long past."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta

from kernel import ids
from kernel.database import Database
from services.events.handlers import TOO_OLD, Handlers
from services.events.loops.retention import Retention
from tests.support.facts import Told
from tests.support.pair import FreshDatabase

TODAY = datetime.now(UTC).date()


def play(database: FreshDatabase, told: Callable[[Database], Awaitable[None]]) -> None:
    async def alone() -> None:
        engine = Database(database.engine("events"))
        try:
            await told(engine)
        finally:
            await engine.close()

    asyncio.run(alone())


def of_day(day: date) -> Told:
    """A message that was accepted then."""
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    message = Told()
    first = str(ids.first_of(moment))[:14]
    message.message_id = first + message.message_id[14:]
    message.email_id = first + message.email_id[14:]
    message.ids |= {"message_id": message.message_id, "email_id": message.email_id}
    message.envelope.message_id, message.envelope.email_id = message.message_id, message.email_id
    return message


def partitions(database: FreshDatabase, table: str) -> list[date]:
    with database.connect() as connection:
        rows = connection.execute("SELECT * FROM events.day_partitions(%s)", (table,)).fetchall()
    return [row[0] for row in rows]  # type: ignore[misc]


def test_a_day_goes_thirty_days_after_its_last_close(database: FreshDatabase) -> None:
    old, open_day = TODAY - timedelta(days=40), TODAY - timedelta(days=35)
    done, waiting = of_day(old), of_day(open_day)

    async def told(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
        long_ago = done.closed()
        long_ago.closed_at.FromDatetime(datetime.now(UTC) - timedelta(days=31))
        async with engine.transaction() as tx:
            await handlers.on_any([done.accepted(), long_ago, waiting.accepted()], tx)
        assert {old, open_day} <= set(partitions(database, "log"))
        await Retention(engine, log_days=30).keep()
        assert old not in partitions(database, "log")
        assert old not in partitions(database, "state")
        assert open_day in partitions(database, "log")
        assert TODAY + timedelta(days=2) in partitions(database, "log")

    play(database, told)


def test_a_day_closed_lately_stays(database: FreshDatabase) -> None:
    day = TODAY - timedelta(days=33)
    message = of_day(day)

    async def told(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
        lately = message.closed()
        lately.closed_at.FromDatetime(datetime.now(UTC) - timedelta(days=29))
        async with engine.transaction() as tx:
            await handlers.on_any([message.accepted(), lately], tx)
        await Retention(engine, log_days=30).keep()
        assert day in partitions(database, "log")

    play(database, told)


def test_a_fact_older_than_the_window_is_dropped_and_its_neighbours_are_not(
    database: FreshDatabase,
) -> None:
    ancient, fresh = of_day(TODAY - timedelta(days=60)), Told()

    async def told(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
        async with engine.transaction() as tx:
            outcomes = await handlers.on_any([ancient.accepted(), fresh.accepted()], tx)
        assert outcomes[0] == TOO_OLD
        assert outcomes[1] != TOO_OLD

    play(database, told)


def test_facts_and_tasks_go_by_their_age(database: FreshDatabase) -> None:
    async def told(engine: Database) -> None:
        handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
        message = Told()
        async with engine.transaction() as tx:
            await handlers.on_any([message.accepted(), message.complained()], tx)
        with database.connect() as connection:
            connection.execute("UPDATE events.facts SET recorded_at = now() - interval '31 days'")
            await Retention(engine, log_days=30).keep()
            left = connection.execute("SELECT count(*) FROM events.facts").fetchone()
        assert left == (0,)

    play(database, told)
