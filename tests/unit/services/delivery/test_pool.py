"""Connection pools: reuse, limits, waiting messages, and hosts that refuse connections."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS
from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail.smtp_reply import Reply
from services.delivery.clients.mx_connector import NoConnection
from services.delivery.clients.smtp.pool import AttemptReleased
from services.delivery.domain.attempt_result import DNS, END_OF_DATA, MAIL, STALE, AttemptResult
from tests.support.connections import (
    FakeSession,
    PoolEnvironment,
    acquire,
    run_ready_tasks,
    sessions_of,
    start_waiters,
)

ACCEPTED = AttemptResult(END_OF_DATA, Reply(250, "2.0.0", "ok"))
CLOSING = AttemptResult(MAIL, Reply(421, "4.7.0", "too many connections"))
BUSY = Reply(421, "4.7.0", "too many connections from you")


def test_a_connection_is_reused_for_the_next_message(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        first = await acquire(pool)
        pool.release(first, ACCEPTED)
        assert await acquire(pool) is first
        assert environment.network.dialed == ["1.example"]

    run(scenario)


def test_a_pool_starts_with_two_connections_and_adds_one_per_reply(
    run: Callable[..., None],
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        tasks = await start_waiters(pool, 10)
        assert len(sessions_of(tasks)) == 2
        pool.release(sessions_of(tasks)[0], ACCEPTED)
        await run_ready_tasks()
        assert len(sessions_of(tasks)) == 4  # the connection that was free, and a third one
        assert len(environment.network.dialed) == 3
        for task in tasks:
            task.cancel()

    run(scenario)


def test_a_free_connection_goes_to_express_mail_first(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        pool.limit = pool.connections_max = 1
        first = await acquire(pool)
        order = [PRIORITY_BULK, PRIORITY_EXPRESS, PRIORITY_BULK, PRIORITY_EXPRESS]
        tasks = [asyncio.create_task(acquire(pool, priority=one)) for one in order]
        await run_ready_tasks()
        for served in (1, 3, 0, 2):
            pool.release(first, ACCEPTED)
            await run_ready_tasks()
            assert tasks[served].done()
            assert sum(task.done() for task in tasks) == [1, 3, 0, 2].index(served) + 1

    run(scenario)


def test_a_pool_refused_its_sixth_connection_continues_with_five(run: Callable[..., None]) -> None:
    """No message is deferred because of the server's limit of connections."""

    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        pool.limit = 5
        tasks = await start_waiters(pool, 200)
        environment.network.refuses["1.example"] = BUSY
        pool.limit = 20
        served = 0
        while busy := [one for one in sessions_of(tasks) if one in pool._in_use]:
            served += 1
            pool.release(busy[0], ACCEPTED)
            await run_ready_tasks()
        assert served == 200
        assert not [task for task in tasks if task.exception()]
        assert pool.limit <= 6

    run(scenario)


def test_messages_wait_briefly_for_a_busy_host(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        environment.network.refuses["1.example"] = BUSY
        pool = environment.pool()
        [task] = await start_waiters(pool, 1)
        assert not task.done()
        del environment.network.refuses["1.example"]
        environment.advance(1.0)
        await run_ready_tasks()
        assert sessions_of([task])

    run(scenario)


def test_waiting_messages_are_deferred_if_the_host_stays_busy(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        environment.network.refuses["1.example"] = BUSY
        pool = environment.pool()
        tasks = await start_waiters(pool, 5)
        for _ in range(8):
            environment.advance(1.0)
            await run_ready_tasks()
        errors = [task.exception() for task in tasks]
        results = [error.result for error in errors if isinstance(error, NoConnection)]
        assert len(results) == 5
        assert {result.reply for result in results} == {BUSY}
        assert sum(result.peer.connected for result in results) <= 2  # the others were not dialed
        assert pool.is_empty

    run(scenario)


def test_an_unreachable_host_is_not_dialed_again_for_the_next_message(
    run: Callable[..., None],
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        environment.network.refuses["1.example"] = None
        pool = environment.pool()
        for _ in range(3):
            with pytest.raises(NoConnection):
                await acquire(pool)
        assert environment.network.dialed == ["1.example"]
        environment.advance(1.0)
        with pytest.raises(NoConnection):
            await acquire(pool)
        assert len(environment.network.dialed) == 2

    run(scenario)


def test_the_backoff_of_an_unreachable_host_doubles(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        environment.network.refuses["1.example"] = None
        pool, seconds = environment.pool(), 0
        while len(environment.network.dialed) < 6:
            with pytest.raises(NoConnection):
                await acquire(pool)
            environment.advance(1.0)
            seconds += 1
        assert 16 <= seconds <= 40  # 1 + 2 + 4 + 8 + 16, at most a quarter less

    run(scenario)


def test_an_open_backup_connection_does_not_replace_a_better_host(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        environment.network.refuses["1.example"] = None
        backup = await acquire(pool, "1.example", "2.example")
        assert backup.peer.mx == "2.example"
        pool.release(backup, ACCEPTED)
        # The best host is in backoff.
        assert await acquire(pool, "1.example", "2.example") is backup
        pool.release(backup, ACCEPTED)
        del environment.network.refuses["1.example"]
        environment.now_s[0] += 2
        assert (await acquire(pool, "1.example", "2.example")).peer.mx == "1.example"

    run(scenario)


def test_a_backup_connection_is_reused_if_the_better_host_has_no_address(
    run: Callable[..., None],
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        environment.network.missing = frozenset(["1.example"])
        pool = environment.pool()
        backup = await acquire(pool, "1.example", "2.example")
        pool.release(backup, ACCEPTED)
        assert await acquire(pool, "1.example", "2.example") is backup
        assert environment.network.dialed == ["2.example"]

    run(scenario)


def test_a_pool_has_all_its_connections_again_after_dns_was_away(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        environment.network.unanswered = frozenset(["1.example"])
        with pytest.raises(NoConnection) as failed:
            await acquire(pool)
        assert (failed.value.result.step, failed.value.result.reply) == (DNS, None)
        assert failed.value.result.problem == "DNS does not answer for 1.example"
        environment.network.unanswered = frozenset()
        environment.advance(60.0)
        for _ in range(3):
            pool.release(await acquire(pool), ACCEPTED)
        assert pool.limit == 4

    run(scenario)


def test_a_message_that_waits_too_long_for_a_connection_is_stale(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool(connections_max=1)
        await acquire(pool)
        late = asyncio.create_task(acquire(pool, until_s=1010.0))
        await run_ready_tasks()
        environment.advance(11.0)
        await run_ready_tasks()
        error = late.exception()
        assert isinstance(error, NoConnection)
        assert error.result is STALE

    run(scenario)


def test_a_message_loses_its_connection_after_the_attempt_timeout(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        slow = await acquire(pool)
        past_end_of_data = await acquire(pool)
        environment.connections.remove_deadline(past_end_of_data)
        environment.advance(599.0)
        assert cast(FakeSession, slow).ended == ""
        environment.advance(2.0)
        assert "600 s" in cast(FakeSession, slow).ended
        assert cast(FakeSession, past_end_of_data).ended == ""

    run(scenario)


def test_a_connection_is_closed_after_the_sites_limit_of_messages(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        pool.apply_limits(DeliveryAssigned(messages_per_connection_max=2))
        first = await acquire(pool)
        for used in (1, 2):
            assert cast(FakeSession, first).ended == ""
            first.used = used
            pool.release(first, ACCEPTED)
        assert cast(FakeSession, first).ended == "quit"
        assert await acquire(pool) is not first

    run(scenario)


def test_an_idle_connection_is_closed_after_the_idle_timeout(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        idle = await acquire(pool)
        pool.release(idle, ACCEPTED)
        environment.advance(14.0)
        assert cast(FakeSession, idle).ended == ""
        environment.advance(1.0)
        assert cast(FakeSession, idle).ended == "quit"
        assert pool.is_empty

    run(scenario)


def test_a_421_to_a_command_lowers_the_limit_by_one(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        pool.limit = 8
        tasks = await start_waiters(pool, 8)
        pool.release(sessions_of(tasks)[0], CLOSING)
        assert pool.limit == 7

    run(scenario)


def test_the_limit_of_the_process_holds_for_all_pools(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        hanging = [environment.pool(f"site{n}", connections_max=2) for n in range(5)]
        held = [await acquire(pool) for pool in hanging]
        late = await start_waiters(environment.pool("late"), 1)
        assert not late[0].done()
        hanging[0].release(held[0], ACCEPTED)  # idle now, so it is closed for the waiting message
        environment.advance(0.0)
        await run_ready_tasks()
        assert sessions_of(late)
        assert cast(FakeSession, held[0]).ended == "quit"

    run(scenario, connections_total_max=5)


def test_mixed_mx_sets_together_get_half_of_a_hosts_connections(run: Callable[..., None]) -> None:
    """A domain may list any host in its MX records."""

    async def scenario(environment: PoolEnvironment) -> None:
        tasks = []
        for number in range(2, 12):
            mixed = environment.pool(f"1.example+{number}.example")
            tasks += await start_waiters(mixed, 5, "1.example")
        assert len(sessions_of(tasks)) == 10
        assert len(sessions_of(await start_waiters(environment.pool("1.example"), 2))) == 2
        assert not [task for task in tasks if task.done() and task.exception()]

    run(scenario)


def test_connections_count_while_they_are_being_opened(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        environment.network.gate = asyncio.Event()
        for number in range(2, 22):
            await start_waiters(environment.pool(f"1.example+{number}.example"), 5, "1.example")
        assert len(environment.network.dialed) == 10

    run(scenario)


def test_draining_a_pool_releases_waiting_messages_and_closes_connections(
    run: Callable[..., None],
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool(connections_max=1)
        idle = await acquire(pool)
        pool.release(idle, ACCEPTED)
        environment.network.gate = asyncio.Event()
        [waiting] = await start_waiters(pool, 1, "2.example")
        pool.drain()
        await run_ready_tasks()
        assert isinstance(waiting.exception(), AttemptReleased)
        assert cast(FakeSession, idle).ended == "quit"
        assert pool.is_empty
        assert environment.connections._total == 0

    run(scenario)


@pytest.mark.parametrize("when", range(12))
def test_canceling_a_message_at_any_moment_leaves_no_connection_open(
    run: Callable[..., None], when: int
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        task = asyncio.create_task(acquire(pool))
        for _ in range(when):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await run_ready_tasks()
        for session in list(pool._in_use):
            assert sessions_of([task]) == [session]
            pool.drop(session)
        pool.drain()
        await run_ready_tasks()
        assert pool.is_empty
        assert environment.connections._total == 0

    run(scenario)
