"""Stops services under load, again and again; each must exit in time."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import TimeoutExpired

from cli.processes import Process
from tests.faults.world import World

LAST_LINES_MAX = 10  # of the log of a process that exits late


def stop_together(world: World, times: int) -> None:
    for turn in range(times):
        world.pause(turn)
        stop(world, world.processes.all())


def stop_in_turn(world: World, times: int) -> None:
    """Stop one service at a time, while the others run."""
    for turn in range(times):
        for process in world.processes.all():
            world.pause(turn)
            stop(world, [process])


def stop(world: World, processes: Sequence[Process]) -> None:
    """Send SIGTERM, wait for the exit, and start again. No attempt may become ambiguous."""
    for process in processes:
        process.signal(signal.SIGTERM)
    stop_requested_at_s = time.monotonic()
    for process in processes:
        await_exit(process, stop_requested_at_s)
    for process in processes:
        process.start()
    for process in processes:
        process.await_ready()


def await_exit(process: Process, stop_requested_at_s: float) -> None:
    """Wait as long as the settings of the service allow. stop_requested_at_s: time.monotonic()."""
    late_at_s = stop_requested_at_s + process.exit_timeout_s
    try:
        code = process.wait(max(0.1, late_at_s - time.monotonic()))
    except TimeoutExpired:
        process.kill()
        took_s = time.monotonic() - stop_requested_at_s
        raise AssertionError(
            f"{process.name} has not exited in {took_s:.1f} s; {last_lines(process.log)}"
        ) from None
    if code:
        took_s = time.monotonic() - stop_requested_at_s
        raise AssertionError(
            f"{process.name} exited with {code} after {took_s:.1f} s; {last_lines(process.log)}"
        )


def last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES_MAX:]
    return "\n  ".join([f"{log} ends with:", *lines])
