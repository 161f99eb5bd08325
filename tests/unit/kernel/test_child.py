"""A child does dangerous work: whatever a body does to it, the others get their answer."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kernel.child import Child, ChildKilled, ChildLimits, ChildRaised, ChildResult
from kernel.errors import Unavailable

BOUNDS = ChildLimits(cpu_s=0.2, memory_bytes=64 << 20)
FUNCTION = "tests.support.trades:start"


def with_child(folder: Path, story: Callable[[Child], Awaitable[None]]) -> None:
    async def told() -> None:
        child = Child("test", FUNCTION, str(folder).encode(), limits=BOUNDS)
        try:
            await story(child)
        finally:
            await child.close()

    asyncio.run(told())


def answers(folder: Path, *bodies: bytes) -> list[ChildResult]:
    found: list[ChildResult] = []

    async def story(child: Child) -> None:
        found.extend(await child.work(bodies))

    with_child(folder, story)
    return found


def pid_of(child: Child) -> int:
    assert child._process is not None
    return child._process.popen.pid


def test_every_body_is_answered_in_its_order(tmp_path: Path) -> None:
    bodies = [b"one %d" % number for number in range(1000)]

    assert answers(tmp_path, *bodies) == [body.upper() for body in bodies]


def test_empty_and_large_bodies_are_answered(tmp_path: Path) -> None:
    bodies = [b"", b"a" * 900_000, b"", b"b" * 900_000]

    assert answers(tmp_path, *bodies) == [body.upper() for body in bodies]


@pytest.mark.parametrize(
    ("deed", "reason"),
    [("spin", "cpu"), ("eat", "memory"), ("eat too much", "memory"), ("crash", "crash")],
)
def test_a_body_that_ends_its_child_is_told_and_its_neighbours_are_answered(
    tmp_path: Path, deed: str, reason: str
) -> None:
    bodies = [b"before", deed.encode(), b"after", deed.encode() + b" #2", b"last"]

    before, first, after, second, last = answers(tmp_path, *bodies)

    assert (before, after, last) == (b"BEFORE", b"AFTER", b"LAST")
    assert first == second == ChildKilled(reason)


def test_a_body_is_not_blamed_for_one_death_that_may_be_anothers(tmp_path: Path) -> None:
    assert answers(tmp_path, b"a", b"crash once", b"b") == [b"A", b"CRASH ONCE", b"B"]


def test_a_body_is_not_blamed_for_what_others_have_left_in_memory(tmp_path: Path) -> None:
    bodies = [b"hoard #%d" % number for number in range(6)]

    assert answers(tmp_path, *bodies) == [body.upper() for body in bodies]


def test_an_error_is_the_bodys_own_and_the_child_lives_on(tmp_path: Path) -> None:
    async def story(child: Child) -> None:
        await child.ready()
        first = pid_of(child)
        assert await child.work([b"raise", b"a"]) == [ChildRaised("KeyError(b'nothing')"), b"A"]
        assert pid_of(child) == first

    with_child(tmp_path, story)


def test_an_answer_that_is_far_too_long_is_not_taken(tmp_path: Path) -> None:
    assert answers(tmp_path, b"say too much", b"a") == [ChildKilled("crash"), b"A"]


def test_a_child_that_died_while_nobody_asked_is_made_again(tmp_path: Path) -> None:
    async def story(child: Child) -> None:
        await child.ready()
        os.kill(pid_of(child), signal.SIGKILL)
        assert await child.work([b"a", b"b"]) == [b"A", b"B"]

    with_child(tmp_path, story)


def test_a_child_that_is_killed_in_the_middle_of_a_batch_costs_no_answer(tmp_path: Path) -> None:
    bodies = [b"%d " % number + b"x" * 10_000 for number in range(2000)]

    async def story(child: Child) -> None:
        await child.ready()
        working = asyncio.create_task(child.work(bodies))
        await asyncio.sleep(0)  # it has begun to send
        os.kill(pid_of(child), signal.SIGKILL)
        assert await working == [body.upper() for body in bodies]

    with_child(tmp_path, story)


def test_who_asks_next_does_not_get_the_answer_to_a_question_given_up(tmp_path: Path) -> None:
    async def story(child: Child) -> None:
        await child.ready()
        given_up = asyncio.create_task(child.work([b"spin"]))
        await asyncio.sleep(0)
        given_up.cancel()
        assert await child.work([b"a"]) == [b"A"]

    with_child(tmp_path, story)


def test_a_loop_goes_on_while_its_child_works(tmp_path: Path) -> None:
    async def story(child: Child) -> None:
        await child.ready()
        turns = 0
        working = asyncio.create_task(child.work([b"spin"]))
        while not working.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 100

    with_child(tmp_path, story)


def test_a_child_that_cannot_start_is_infrastructure_that_is_away() -> None:
    async def story() -> None:
        with pytest.raises(Unavailable):
            await Child("test", "tests.support.trades:gone", b"", limits=BOUNDS).work([b"a"])

    asyncio.run(story())


def test_a_child_has_no_secrets_of_its_parents(tmp_path: Path) -> None:
    async def story(child: Child) -> None:
        await child.ready()
        environment = Path(f"/proc/{pid_of(child)}/environ").read_bytes()
        assert b"OBM_SECRET_KEYS" not in environment

    os.environ["OBM_SECRET_KEYS"] = "ours"
    try:
        with_child(tmp_path, story)
    finally:
        del os.environ["OBM_SECRET_KEYS"]


PARENT = """
import asyncio
from kernel.child import ChildLimits, Child

async def main():
    child = Child("test", "tests.support.trades:start", b"/tmp", limits=ChildLimits(60.0, 64 << 20))
    await child.ready()
    print(child._process.popen.pid, flush=True)
    await child.work([b"spin"])

asyncio.run(main())
"""


def test_a_child_at_work_does_not_survive_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    watch = os.pidfd_open(child)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    with open(watch, closefd=True):
        assert wait_for_end(watch)


def wait_for_end(watch: int) -> bool:
    import select

    return bool(select.select([watch], [], [], 10)[0])
