"""Every service is told to stop under load, again and again, and each time it has ended in time."""

import signal
import time
from collections.abc import Sequence
from subprocess import TimeoutExpired

from cli.processes import END_WITHIN_S, Process
from tests.faults.world import World


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
    until_s = time.monotonic() + END_WITHIN_S
    for process in processes:
        await_end(process, until_s - time.monotonic())
    for process in processes:
        process.start()
    for process in processes:
        process.await_ready()


def await_end(process: Process, within_s: float) -> None:
    try:
        code = process.wait(max(0.1, within_s))
    except TimeoutExpired:
        raise AssertionError(f"{process.name} has not ended in {END_WITHIN_S:.0f} s") from None
    if code:
        raise AssertionError(f"{process.name} ended with {code}; see {process.log}")
