"""Connection pools, and messages that a host has deferred."""

import asyncio
import random
from collections.abc import Callable

import pytest

from mail.smtp_reply import Reply
from services.delivery.clients.mx_connector import NoConnection
from services.delivery.domain.attempt_result import END_OF_DATA, AttemptResult
from tests.support.connections import (
    PoolEnvironment,
    acquire,
    run_ready_tasks,
    sessions_of,
    start_waiters,
)

ACCEPTED = AttemptResult(END_OF_DATA, Reply(250, "2.0.0", "ok"))
BUSY = Reply(421, "4.7.0", "Too busy")


def test_a_host_that_a_message_has_tried_is_not_used_again(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        first = await acquire(pool, "1.example", "2.example")
        pool.release(first, ACCEPTED)
        tried = frozenset([(first.peer.remote_ip, 25)])
        second = await acquire(pool, "1.example", "2.example", tried=tried)
        assert second.peer.mx == "2.example"
        with pytest.raises(NoConnection):
            await acquire(pool, "1.example", tried=tried)

    run(scenario)


def test_a_message_that_its_only_host_has_deferred_waits_for_no_connection(
    run: Callable[..., None],
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool(connections_max=1)
        busy = await acquire(pool)
        tried = frozenset([(busy.peer.remote_ip, 25)])
        with pytest.raises(NoConnection):
            await asyncio.wait_for(acquire(pool, tried=tried), 5.0)

    run(scenario)


def test_a_deferred_message_leaves_the_pool_and_other_messages_as_they_are(
    run: Callable[..., None],
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool, hosts = environment.pool(), ("1.example", "2.example")
        first = await acquire(pool, *hosts)
        environment.network.refuses["2.example"] = None
        environment.network.gate = asyncio.Event()
        tried = frozenset([(first.peer.remote_ip, 25)])
        deferred = asyncio.create_task(acquire(pool, *hosts, tried=tried))
        await run_ready_tasks()
        waiting = [asyncio.create_task(acquire(pool, *hosts)) for _ in range(4)]
        await run_ready_tasks()
        environment.network.gate.set()
        await run_ready_tasks()
        assert isinstance(deferred.exception(), NoConnection)
        for _ in range(5):
            for session in list(pool._in_use):
                pool.release(session, ACCEPTED)
            await run_ready_tasks()
        assert len(sessions_of(waiting)) == 4
        assert pool.limit > 2

    run(scenario)


@pytest.mark.parametrize("seed", range(20))
def test_a_message_that_reached_a_busy_host_has_used_a_connection(
    run: Callable[..., None], seed: int
) -> None:
    """Even if another host's turn comes while the busy one is not dialed again."""

    async def scenario(environment: PoolEnvironment) -> None:
        random.seed(seed)  # of the backoffs
        environment.network.refuses = {"1.example": BUSY, "2.example": None}
        [task] = await start_waiters(environment.pool(), 1, "1.example", "2.example")
        for _ in range(100):
            environment.advance(0.1)
            await run_ready_tasks()
        error = task.exception()
        assert isinstance(error, NoConnection)
        assert (error.result.reply, error.result.peer.connected) == (BUSY, True)

    run(scenario)
