"""Day partitions that several replicas create and drop. On real PostgreSQL."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime, timedelta

from psycopg import Connection

from kernel import days as module
from kernel.database import Database
from kernel.days import ClosedDayFinder, TablePartitions, id_bounds
from services.router.store.day_partitions import MESSAGES
from tests.support.stack import FreshDatabase, opened

TODAY = datetime.now(UTC).date()
OLD = TODAY - timedelta(days=20)

INSERT = """
INSERT INTO router.messages (message_id, tenant_id, email_id, cell, queue_id, state, due_at,
    expires_at, address_hash, context, closed_at)
SELECT (left(%s, 24) || lpad(n::text, 12, '0'))::uuid, gen_random_uuid(), gen_random_uuid(), 'c',
    'l', 'delivered', now(), now(), '', '', now() - interval '9 days'
FROM generate_series(1, %s) AS n
"""


def open_router_database(database: FreshDatabase) -> AbstractAsyncContextManager[Database]:
    return opened(database.system("router"))


def fill(connection: "Connection[tuple[object, ...]]", day: date, *, rows: int) -> None:
    connection.execute("SELECT router.ensure_day_partition('messages', %s)", (day,))
    connection.execute(INSERT, (str(id_bounds(day)[0]), rows))


async def test_two_replicas_can_drop_a_day_concurrently(database: FreshDatabase) -> None:
    async with open_router_database(database) as one, open_router_database(database) as other:
        async with one.transaction() as tx:
            await TablePartitions("router", "messages").ensure(tx, [OLD])
        has_listed, has_dropped = asyncio.Event(), asyncio.Event()

        async def second() -> bool:
            async with other.transaction() as tx:
                assert OLD in await TablePartitions("router", "messages").existing(tx)
                has_listed.set()
                await has_dropped.wait()
                return await TablePartitions("router", "messages").drop(tx, OLD)

        task = asyncio.create_task(second())
        await has_listed.wait()
        async with one.transaction() as tx:
            assert await TablePartitions("router", "messages").drop(tx, OLD)
            has_dropped.set()
            await wait_for_blocked_lock(database)
        assert not await task


async def wait_for_blocked_lock(database: FreshDatabase) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(240):
        while True:
            with database.connect() as connection:
                if connection.execute(query).fetchone() != (0,):
                    return
            await asyncio.sleep(0.01)


async def test_a_day_is_scanned_in_pages_and_the_scan_resumes_at_the_open_message(
    database: FreshDatabase,
) -> None:
    day, rows = OLD - timedelta(days=1), 2 * module.PAGE_ROWS + 10
    last = f"{str(id_bounds(day)[0])[:24]}{rows:012d}"

    async with open_router_database(database) as system:
        closed = ClosedDayFinder(system, MESSAGES, timedelta(days=8))
        with database.connect() as connection:
            fill(connection, day, rows=rows)
            connection.execute(
                "UPDATE router.messages SET closed_at = NULL WHERE message_id = %s", (last,)
            )
            connection.commit()
            assert not await closed.is_expired(day), "its last message is open"
            connection.execute(
                "UPDATE router.messages SET closed_at = now() WHERE message_id = %s", (last,)
            )
            connection.commit()
            assert not await closed.is_expired(day), "closed a moment ago"
            connection.execute(
                "UPDATE router.messages SET closed_at = now() - interval '9 days'"
                " WHERE message_id = %s",
                (last,),
            )
            connection.commit()
            assert await ClosedDayFinder(system, MESSAGES, timedelta(days=8)).is_expired(day)


async def test_old_days_are_checked_again_by_the_replica_that_created_them(
    database: FreshDatabase,
) -> None:
    """Another replica may have dropped them meanwhile."""

    days = TablePartitions("router", "messages")
    async with open_router_database(database) as system:
        async with system.transaction() as tx:
            await days.ensure(tx, [OLD, TODAY])
        assert days.missing([OLD, TODAY]) == {OLD}
