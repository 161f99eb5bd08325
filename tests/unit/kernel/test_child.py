"""A child process isolates dangerous work: the other bodies have results whatever one body does."""

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

LIMITS = ChildLimits(cpu_s=0.1, memory_bytes=64 << 20)
FUNCTION = "tests.support.trades:start"


def with_child(folder: Path, scenario: Callable[[Child], Awaitable[None]]) -> None:
    async def run() -> None:
        child = Child("test", FUNCTION, str(folder).encode(), limits=LIMITS)
        try:
            await scenario(child)
        finally:
            await child.close()

    asyncio.run(run())


def results(folder: Path, *bodies: bytes) -> list[ChildResult]:
    found: list[ChildResult] = []

    async def scenario(child: Child) -> None:
        found.extend(await child.process(bodies))

    with_child(folder, scenario)
    return found


def pid_of(child: Child) -> int:
    assert child._process is not None
    return child._process.popen.pid


def test_results_come_in_the_order_of_the_bodies(tmp_path: Path) -> None:
    bodies = [b"one %d" % number for number in range(1000)]

    assert results(tmp_path, *bodies) == [body.upper() for body in bodies]


def test_empty_and_large_bodies_have_results(tmp_path: Path) -> None:
    bodies = [b"", b"a" * 900_000, b"", b"b" * 900_000]

    assert results(tmp_path, *bodies) == [body.upper() for body in bodies]


@pytest.mark.parametrize(
    ("deed", "reason"),
    [("spin", "cpu"), ("eat", "memory"), ("eat too much", "memory"), ("crash", "crash")],
)
def test_a_body_that_kills_its_child_is_reported_and_the_others_have_results(
    tmp_path: Path, deed: str, reason: str
) -> None:
    bodies = [b"before", deed.encode(), b"after", deed.encode() + b" #2", b"last"]

    before, first, after, second, last = results(tmp_path, *bodies)

    assert (before, after, last) == (b"BEFORE", b"AFTER", b"LAST")
    assert first == second == ChildKilled(reason)


def test_a_body_is_not_blamed_for_a_death_with_another_possible_cause(tmp_path: Path) -> None:
    assert results(tmp_path, b"a", b"crash once", b"b") == [b"A", b"CRASH ONCE", b"B"]


def test_a_body_is_not_blamed_for_memory_that_others_used(tmp_path: Path) -> None:
    bodies = [b"hoard #%d" % number for number in range(6)]

    assert results(tmp_path, *bodies) == [body.upper() for body in bodies]


def test_an_error_concerns_one_body_and_the_child_survives(tmp_path: Path) -> None:
    async def scenario(child: Child) -> None:
        await child.start()
        first = pid_of(child)
        assert await child.process([b"raise", b"a"]) == [ChildRaised("KeyError(b'nothing')"), b"A"]
        assert pid_of(child) == first

    with_child(tmp_path, scenario)


def test_an_error_leaves_the_others_of_its_group_their_results(tmp_path: Path) -> None:
    found = results(tmp_path, b"a", b"raise", b"b", b"raise", b"c")
    error = ChildRaised("KeyError(b'nothing')")
    assert found == [b"A", error, b"B", error, b"C"]


def test_each_body_of_a_group_has_the_whole_cpu_time(tmp_path: Path) -> None:
    bodies = [b"take its time #%d" % number for number in range(4)]
    assert results(tmp_path, *bodies) == [body.upper() for body in bodies]


def test_a_result_beyond_the_maximum_ends_the_child(tmp_path: Path) -> None:
    assert results(tmp_path, b"say too much", b"a") == [ChildKilled("crash"), b"A"]


def test_a_child_that_died_while_idle_is_started_again(tmp_path: Path) -> None:
    async def scenario(child: Child) -> None:
        await child.start()
        os.kill(pid_of(child), signal.SIGKILL)
        assert await child.process([b"a", b"b"]) == [b"A", b"B"]

    with_child(tmp_path, scenario)


def test_a_child_killed_during_a_batch_costs_no_result(tmp_path: Path) -> None:
    bodies = [b"%d " % number + b"x" * 10_000 for number in range(2000)]

    async def scenario(child: Child) -> None:
        await child.start()
        working = asyncio.create_task(child.process(bodies))
        await asyncio.sleep(0)  # sending has started
        os.kill(pid_of(child), signal.SIGKILL)
        assert await working == [body.upper() for body in bodies]

    with_child(tmp_path, scenario)


def test_the_result_of_a_cancelled_call_does_not_reach_the_next_caller(tmp_path: Path) -> None:
    async def scenario(child: Child) -> None:
        await child.start()
        cancelled = asyncio.create_task(child.process([b"spin"]))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await child.process([b"a"]) == [b"A"]

    with_child(tmp_path, scenario)


def test_the_event_loop_runs_while_the_child_works(tmp_path: Path) -> None:
    async def scenario(child: Child) -> None:
        await child.start()
        turns = 0
        working = asyncio.create_task(child.process([b"spin"]))
        while not working.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 100

    with_child(tmp_path, scenario)


async def test_a_child_that_cannot_start_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await Child("test", "tests.support.trades:gone", b"", limits=LIMITS).process([b"a"])


def test_a_child_does_not_inherit_secrets(tmp_path: Path) -> None:
    async def scenario(child: Child) -> None:
        await child.start()
        environment = Path(f"/proc/{pid_of(child)}/environ").read_bytes()
        assert b"OBM_SECRET_KEYS" not in environment

    os.environ["OBM_SECRET_KEYS"] = "ours"
    try:
        with_child(tmp_path, scenario)
    finally:
        del os.environ["OBM_SECRET_KEYS"]


PARENT = """
import asyncio
from kernel.child import ChildLimits, Child

async def main():
    child = Child("test", "tests.support.trades:start", b"/tmp", limits=ChildLimits(60.0, 64 << 20))
    await child.start()
    print(child._process.popen.pid, flush=True)
    await child.process([b"spin"])

asyncio.run(main())
"""


def test_a_working_child_dies_with_its_parent() -> None:
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


def test_a_child_goes_on_with_another_setup(tmp_path: Path) -> None:
    async def scenario(child: Child) -> None:
        await child.start()
        before = pid_of(child)
        working = asyncio.create_task(child.process([b"a"] * 200))
        await child.replace_setup(str(tmp_path / "other").encode())
        assert await working == [b"A"] * 200
        assert pid_of(child) != before
        assert await child.process([b"b"]) == [b"B"]
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)

    with_child(tmp_path, scenario)
