"""Faults of dependencies that are slow or unavailable for a while, and then recover."""

import time

import psycopg
from psycopg import sql

from cli.environment import SERVICES
from tests.faults.world import World

REPLAYING_SERVICES = ("shield", "router", "delivery")
REPLAY_S = 15.0
RESPONSE_S = 0.4  # time that Kafka takes for a response
BETWEEN_S = 0.1
LOCK_HELD_S = 3.0  # longer than a statement waits for a lock
CANCEL_EVERY_S = 0.005

TABLES = b"""
SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s)
    AND tablename !~ '^alembic' ORDER BY 1, 2
"""
CANCEL = b"""
SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
WHERE state = 'active' AND (usename LIKE '%_system' OR usename LIKE '%_tenant')
"""


def slow_directory(world: World, times: int, *, replay_s: float = REPLAY_S) -> None:
    """Restart the services that replay the directory, with a slow replay, as with a hundred
    thousand domains: for a while they know no tenant."""
    for _ in range(times):
        processes = [world.processes[name] for name in REPLAYING_SERVICES]
        for process in processes:
            process.terminate()
        for process in processes:
            process.start(OBM_FAILPOINTS=f"kafka.replay=wait@{replay_s}")
        for process in processes:
            process.await_ready()


def content_store_outage(world: World, times: int) -> None:
    """The content store is not mounted for a while, with messages in flight."""
    content, unmounted = world.folder / "content", world.folder / "content-unmounted"
    for turn in range(times):
        world.pause(turn)
        content.rename(unmounted)
        time.sleep(4)
        if content.exists():
            raise AssertionError("a content store that is not mounted was created again")
        unmounted.rename(content)
        time.sleep(2)


def slow_kafka(world: World, times: int) -> None:
    """Each response of Kafka is slow."""
    until_s = time.monotonic() + 4 * times
    while time.monotonic() < until_s:
        world.stack.kafka.pause()
        time.sleep(RESPONSE_S)
        world.stack.kafka.resume()
        time.sleep(BETWEEN_S)


def lock_timeouts(world: World, times: int) -> None:
    """Every statement of every loop and handler exceeds its lock_timeout."""
    for turn in range(times):
        world.pause(turn)
        lock_all_tables(world)


def lock_all_tables(world: World) -> None:
    """Lock all tables for LOCK_HELD_S, after waiting for their present holders."""
    with psycopg.connect(world.stack.database_url) as owner:
        found = owner.execute(TABLES, ([*SERVICES],)).fetchall()
        tables = sql.SQL(", ").join(sql.Identifier(str(s), str(t)) for s, t in found)
        owner.execute(sql.SQL("SET deadlock_timeout = '1min'"))
        owner.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))
        time.sleep(LOCK_HELD_S)


def cancel_statements(world: World, times: int) -> None:
    """PostgreSQL cancels the statements that are running, again and again."""
    until_s = time.monotonic() + 3 * times
    with world.database() as owner:
        while time.monotonic() < until_s:
            owner.execute(CANCEL)
            time.sleep(CANCEL_EVERY_S)
