"""Every service is told to stop under load, again and again, and each time it has ended in time."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import TimeoutExpired

from cli.processes import Process
from tests.faults.world import World

LAST_LINES = 10  # of the log of one that is late


def stop_together(world: World, times: int) -> None:
    for turn in range(times):
        world.pause(turn)
        stop(world, world.processes.all())


def stop_in_turn(world: World, times: int) -> None:
    """While the others go on."""
    for turn in range(times):
        for process in world.processes.all():
            world.pause(turn)
            stop(world, [process])


def stop(world: World, processes: Sequence[Process]) -> None:
    """SIGTERM, the end, and a new start. It is no fault: nothing may be called ambiguous."""
    for process in processes:
        process.signal(signal.SIGTERM)
    told_at_s = time.monotonic()
    for process in processes:
        await_end(process, told_at_s)
    for process in processes:
        process.start()
    for process in processes:
        process.await_ready()


def await_end(process: Process, told_at_s: float) -> None:
    """Each within the time that its own settings promise. told_at_s: of time.monotonic."""
    late_at_s = told_at_s + process.exit_within_s
    try:
        code = process.wait(max(0.1, late_at_s - time.monotonic()))
    except TimeoutExpired:
        process.kill()
        took_s = time.monotonic() - told_at_s
        raise AssertionError(
            f"{process.name} has not ended in {took_s:.1f} s; {last_lines(process.log)}"
        ) from None
    if code:
        took_s = time.monotonic() - told_at_s
        raise AssertionError(
            f"{process.name} ended with {code} after {took_s:.1f} s; {last_lines(process.log)}"
        )


def last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "\n  ".join([f"{log} ends with:", *lines])
