"""Connections: who gets one, who waits, and what a host that refuses one costs the messages."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from mail.smtp_reply import Reply
from services.delivery.clients.mx_connector import MxConnector, NoConnection
from services.delivery.clients.smtp.connections import ConnectionConfig, Connections
from services.delivery.clients.smtp.pool import AttemptReleased
from services.delivery.domain.attempt_result import END_OF_DATA, MAIL, STALE, AttemptResult
from tests.support.connections import FakeNet, FakeSession, World, ask, got, settle, waiters

TAKEN = AttemptResult(END_OF_DATA, Reply(250, "2.0.0", "ok"))
CLOSING = AttemptResult(MAIL, Reply(421, "4.7.0", "too many connections"))
BUSY = Reply(421, "4.7.0", "too many connections from you")


Story = Callable[[World], Awaitable[None]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run_story(story: Story, **limits: Any) -> None:  # noqa: ANN401 - fields of ConnectionConfig
        async def main() -> None:
            net, now_s = FakeNet(), [1000.0]
            monkeypatch.setattr(clock, "monotonic_s", lambda: now_s[0])
            mx_connector = MxConnector(net, net, allowed=[])
            given = ConnectionConfig(20, messages_per_connection_max=500, idle_s=15.0)
            connections = Connections(mx_connector, replace(given, **limits))
            await story(World(net, connections, now_s))

        monkeypatch.setattr("services.delivery.clients.mx_connector.may_connect", lambda *_: True)
        asyncio.run(main())

    return run_story


def test_a_connection_that_was_used_serves_the_next_message(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool()
        first = await ask(pool)
        pool.release(first, TAKEN)
        assert await ask(pool) is first
        assert world.net.dialed == ["1.example"]

    run(story)


def test_two_connections_at_first_and_one_more_with_each_answer(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool()
        tasks = await waiters(pool, 10)
        assert len(got(tasks)) == 2
        pool.release(got(tasks)[0], TAKEN)
        await settle()
        assert len(got(tasks)) == 4  # the one that was free, and a third connection
        assert len(world.net.dialed) == 3
        for task in tasks:
            task.cancel()

    run(story)


def test_who_is_told_421_at_the_sixth_goes_on_with_five(run: Callable[..., None]) -> None:
    """A receiver's limit of connections is no deferral of anybody's message."""

    async def story(world: World) -> None:
        pool = world.pool()
        pool.limit = 5
        tasks = await waiters(pool, 200)
        world.net.refuses["1.example"] = BUSY
        pool.limit = 20
        served = 0
        while left := [one for one in got(tasks) if one in pool._in_use]:
            served += 1
            pool.release(left[0], TAKEN)
            await settle()
        assert served == 200
        assert not [task for task in tasks if task.exception()]
        assert pool.limit <= 6

    run(story)


def test_a_host_that_lets_nobody_in_is_waited_for_a_moment(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        world.net.refuses["1.example"] = BUSY
        pool = world.pool()
        [task] = await waiters(pool, 1)
        assert not task.done()
        del world.net.refuses["1.example"]
        world.later(1.0)
        await settle()
        assert got([task])

    run(story)


def test_a_host_that_is_still_busy_then_puts_all_that_wait_off(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        world.net.refuses["1.example"] = BUSY
        pool = world.pool()
        tasks = await waiters(pool, 5)
        for _ in range(8):
            world.later(1.0)
            await settle()
        errors = [task.exception() for task in tasks]
        results = [error.result for error in errors if isinstance(error, NoConnection)]
        assert len(results) == 5
        assert {result.reply for result in results} == {BUSY}
        assert sum(result.peer.connected for result in results) <= 2  # for the others nobody rang
        assert pool.is_empty

    run(story)


def test_a_dead_host_is_not_dialled_again_for_the_next_message(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        world.net.refuses["1.example"] = None
        pool = world.pool()
        for _ in range(3):
            with pytest.raises(NoConnection):
                await ask(pool)
        assert world.net.dialed == ["1.example"]
        world.later(1.0)
        with pytest.raises(NoConnection):
            await ask(pool)
        assert len(world.net.dialed) == 2

    run(story)


def test_a_dead_host_is_left_alone_twice_as_long_each_time(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        world.net.refuses["1.example"] = None
        pool, seconds = world.pool(), 0
        while len(world.net.dialed) < 6:
            with pytest.raises(NoConnection):
                await ask(pool)
            world.later(1.0)
            seconds += 1
        assert 16 <= seconds <= 40  # 1 + 2 + 4 + 8 + 16, a quarter less at the most

    run(story)


def test_a_backup_does_not_win_for_being_open(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool()
        world.net.refuses["1.example"] = None
        backup = await ask(pool, "1.example", "2.example")
        assert backup.peer.mx == "2.example"
        pool.release(backup, TAKEN)
        assert await ask(pool, "1.example", "2.example") is backup  # the best is left alone
        pool.release(backup, TAKEN)
        del world.net.refuses["1.example"]
        world.now_s[0] += 2
        assert (await ask(pool, "1.example", "2.example")).peer.mx == "1.example"

    run(story)


def test_a_better_host_without_an_address_keeps_no_backup_from_being_used_again(
    run: Callable[..., None],
) -> None:
    async def story(world: World) -> None:
        world.net.missing = frozenset(["1.example"])
        pool = world.pool()
        backup = await ask(pool, "1.example", "2.example")
        pool.release(backup, TAKEN)
        assert await ask(pool, "1.example", "2.example") is backup
        assert world.net.dialed == ["2.example"]

    run(story)


def test_who_has_been_asked_is_not_asked_again(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool()
        first = await ask(pool, "1.example", "2.example")
        pool.release(first, TAKEN)
        tried = frozenset([(first.peer.remote_ip, 25)])
        second = await ask(pool, "1.example", "2.example", tried=tried)
        assert second.peer.mx == "2.example"
        with pytest.raises(NoConnection):
            await ask(pool, "1.example", tried=tried)

    run(story)


def test_what_waits_for_too_long_is_stale_and_costs_no_try(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool(most=1)
        await ask(pool)
        late = asyncio.create_task(ask(pool, until_s=1010.0))
        await settle()
        world.later(11.0)
        await settle()
        error = late.exception()
        assert isinstance(error, NoConnection)
        assert error.result is STALE

    run(story)


def test_a_message_that_holds_a_connection_for_too_long_loses_it(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool()
        slow = await ask(pool)
        past_its_dot = await ask(pool)
        world.connections.lift_deadline(past_its_dot)
        world.later(599.0)
        assert cast(FakeSession, slow).ended == ""
        world.later(2.0)
        assert "600 s" in cast(FakeSession, slow).ended
        assert cast(FakeSession, past_its_dot).ended == ""

    run(story)


def test_a_site_says_how_many_messages_a_connection_takes(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool()
        pool.apply_limits(DeliveryAssigned(messages_per_connection_max=2))
        first = await ask(pool)
        for used in (1, 2):
            assert cast(FakeSession, first).ended == ""
            first.used = used
            pool.release(first, TAKEN)
        assert cast(FakeSession, first).ended == "quit"
        assert await ask(pool) is not first

    run(story)


def test_an_idle_connection_is_closed_in_time(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool()
        idle = await ask(pool)
        pool.release(idle, TAKEN)
        world.later(14.0)
        assert cast(FakeSession, idle).ended == ""
        world.later(1.0)
        assert cast(FakeSession, idle).ended == "quit"
        assert pool.is_empty

    run(story)


def test_a_421_to_a_command_takes_a_connection_from_the_limit(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool()
        pool.limit = 8
        tasks = await waiters(pool, 8)
        pool.release(got(tasks)[0], CLOSING)
        assert pool.limit == 7

    run(story)


def test_the_limit_of_the_process_holds_for_all_pools(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        hanging = [world.pool(f"site{n}", most=2) for n in range(5)]
        held = [await ask(pool) for pool in hanging]
        late = await waiters(world.pool("late"), 1)
        assert not late[0].done()
        hanging[0].release(held[0], TAKEN)  # idle now, and gives way
        world.later(0.0)
        await settle()
        assert got(late)
        assert cast(FakeSession, held[0]).ended == "quit"

    run(story, connections_total_max=5)


def test_strangers_who_name_a_host_leave_half_of_it_to_others(run: Callable[..., None]) -> None:
    """An MX set may name anybody's host beside one's own."""

    async def story(world: World) -> None:
        tasks = []
        for number in range(2, 12):
            mixed = world.pool(f"1.example+{number}.example")
            tasks += await waiters(mixed, 5, "1.example")
        assert len(got(tasks)) == 10
        assert len(got(await waiters(world.pool("1.example"), 2))) == 2
        assert not [task for task in tasks if task.done() and task.exception()]

    run(story)


def test_dials_count_before_anybody_has_greeted(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        world.net.gate = asyncio.Event()
        for number in range(2, 22):
            await waiters(world.pool(f"1.example+{number}.example"), 5, "1.example")
        assert len(world.net.dialed) == 10

    run(story)


def test_at_the_end_nobody_waits_and_nothing_is_open(run: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        pool = world.pool(most=1)
        idle = await ask(pool)
        pool.release(idle, TAKEN)
        world.net.gate = asyncio.Event()
        [waiting] = await waiters(pool, 1, "2.example")
        pool.drain()
        await settle()
        assert isinstance(waiting.exception(), AttemptReleased)
        assert cast(FakeSession, idle).ended == "quit"
        assert pool.is_empty
        assert world.connections._total == 0

    run(story)


@pytest.mark.parametrize("when", range(12))
def test_a_message_that_ends_at_any_moment_leaves_no_connection_behind(
    run: Callable[..., None], when: int
) -> None:
    async def story(world: World) -> None:
        pool = world.pool()
        task = asyncio.create_task(ask(pool))
        for _ in range(when):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await settle()
        for session in list(pool._in_use):
            assert got([task]) == [session]
            pool.drop(session)
        pool.drain()
        await settle()
        assert pool.is_empty
        assert world.connections._total == 0

    run(story)
