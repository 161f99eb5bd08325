"""How long a fault keeps mail from being accepted, and from arriving."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.world import World, read_json_lines, wait_until

AFTER_S = 5.0  # load after each repair, before the next fault
RECOVERED_WITHIN_S = 240.0


@contextmanager
def measured(world: World, fault: str) -> Iterator[None]:
    """Note the longest times in which no message was accepted, and none arrived, from the fault to
    the first message that was accepted and arrived after it was repaired."""
    began_s = time.monotonic()
    yield
    repaired_s = time.monotonic()
    accepted, arrivals = len(world.client.accepted), len(arrived_at_s(world))
    wait_until(
        lambda: len(world.client.accepted) > accepted and len(arrived_at_s(world)) > arrivals,
        RECOVERED_WITHIN_S,
        f"no message after {fault}",
    )
    time.sleep(AFTER_S)
    gaps = (longest_gap_s(at, began_s) for at in (world.client.accepted_at_s, arrived_at_s(world)))
    accept_s, arrive_s = gaps
    world.notes.append(
        f"{fault} for {repaired_s - began_s:.0f} s: none accepted for {accept_s:.1f} s,"
        f" none arrived for {arrive_s:.1f} s"
    )


def arrived_at_s(world: World) -> list[float]:
    """By the monotonic clock of this machine."""
    return [float(str(line["at"])) for line in read_json_lines(world.folder / "sink.jsonl")]


def longest_gap_s(moments_s: list[float], since_s: float) -> float:
    """The longest time between two of these, after since_s."""
    later = [since_s, *sorted(one for one in moments_s if one > since_s)]
    return max(after - before for before, after in itertools.pairwise(later))
