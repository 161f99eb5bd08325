"""What is away for a while, or late: it comes, and then everything goes on."""

import time

import psycopg
from psycopg import sql

from cli.environment import SERVICES
from tests.faults.world import World

FOLLOWERS = ("shield", "router", "delivery")
REPLAY_S = 15.0
REPLY_S = 0.4  # that Kafka takes for a reply
BETWEEN_S = 0.1
GIVEN_UP_S = 3.0  # longer than a statement waits for a lock
CANCEL_EVERY_S = 0.005

TABLES = b"""
SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s)
    AND tablename !~ '^alembic' ORDER BY 1, 2
"""
CANCEL = b"""
SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
WHERE state = 'active' AND (usename LIKE '%_system' OR usename LIKE '%_tenant')
"""


def late_directory(world: World, times: int) -> None:
    """Whoever follows the directory starts anew, and knows nobody's tenant for long: as where there
    are a hundred thousand domains."""
    for _ in range(times):
        processes = [world.processes[name] for name in FOLLOWERS]
        for process in processes:
            process.terminate()
        for process in processes:
            process.start(OBM_FAILPOINTS=f"kafka.replay=wait@{REPLAY_S:.0f}")
        for process in processes:
            process.await_ready()


def no_content(world: World, times: int) -> None:
    """The content store is not mounted for a while, with mail in flight."""
    content, away = world.folder / "content", world.folder / "content-away"
    for turn in range(times):
        world.pause(turn)
        content.rename(away)
        time.sleep(4)
        if content.exists():
            raise AssertionError("a store that is away was made anew")
        away.rename(content)
        time.sleep(2)


def slow_kafka(world: World, times: int) -> None:
    """Each reply takes its time."""
    until_s = time.monotonic() + 4 * times
    while time.monotonic() < until_s:
        world.stack.kafka.pause()
        time.sleep(REPLY_S)
        world.stack.kafka.resume()
        time.sleep(BETWEEN_S)


def no_locks(world: World, times: int) -> None:
    """Every statement of every loop and handler waits for a lock in vain."""
    for turn in range(times):
        world.pause(turn)
        lock(world)


def lock(world: World) -> None:
    """All tables; whoever holds one of them meanwhile is waited for."""
    with psycopg.connect(world.stack.database_url) as owner:
        found = owner.execute(TABLES, ([*SERVICES],)).fetchall()
        tables = sql.SQL(", ").join(sql.Identifier(str(s), str(t)) for s, t in found)
        owner.execute(sql.SQL("SET deadlock_timeout = '1min'"))
        owner.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))
        time.sleep(GIVEN_UP_S)


def no_statements(world: World, times: int) -> None:
    """The database gives up on whatever statement is under way."""
    until_s = time.monotonic() + 3 * times
    with world.database() as owner:
        while time.monotonic() < until_s:
            owner.execute(CANCEL)
            time.sleep(CANCEL_EVERY_S)
