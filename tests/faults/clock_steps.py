"""Clocks of machines that step, while those of others and of the database do not."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cli.processes import Child, Process
from tests.faults.world import World, start_world, wait_until

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")  # apt-get install faketime
READY_WITHIN_S = 600.0  # it only bounds a hang: the machine may be busy
# A step that is corrected, and one that the records of Kafka and the ids of messages keep.
STEPS_S = (+300, -300, +3_000, -86_400)
STEPPED_S = 10.0
RECOVERED_WITHIN_S = 120.0


class ProcessWithClock(Process):
    """A process that reads how far its clock is ahead from a file beside its log."""

    @property
    def clock(self) -> Path:
        return self.log.with_suffix(".clock")

    def set_clock(self, ahead_s: int) -> None:
        self.clock.write_text(f"{ahead_s:+d}")

    def spawn(self, environment: Mapping[str, str]) -> Child:
        self.set_clock(0)
        fake = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        return super().spawn({**environment, **fake})

    def await_ready(self, within_s: float = READY_WITHIN_S) -> None:
        super().await_ready(within_s)


@contextmanager
def start_with_clocks(
    folder: Path, *, seed: int, rate_per_s: float, audited: bool = False
) -> Iterator[World]:
    """As `start_world`, with a clock of its own for each process."""
    if not LIBRARY.exists():
        raise RuntimeError(f"{LIBRARY} is missing. Install the package faketime.")
    with start_world(
        folder, seed=seed, rate_per_s=rate_per_s, audited=audited, process=ProcessWithClock
    ) as world:
        yield world


def step_clocks(world: World, times: int) -> None:
    """The clock of one service after the other steps, and is set right."""
    for turn in range(times):
        for process in world.processes.all():
            assert isinstance(process, ProcessWithClock)
            for ahead_s in STEPS_S:
                step(world, process, ahead_s)
        world.pause(turn)


def step(world: World, process: ProcessWithClock, ahead_s: int) -> None:
    world.faults += 1
    process.set_clock(ahead_s)
    time.sleep(STEPPED_S)
    process.set_clock(0)
    arrived = world.count_arrivals(world.client.accepted)
    wait_until(
        lambda: world.count_arrivals(world.client.accepted) > arrived,
        RECOVERED_WITHIN_S,
        f"nothing arrived after the clock of {process.name} was {ahead_s} s ahead",
    )
