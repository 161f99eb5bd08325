"""What a scenario is."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

from tests.faults.world import World, start_world

InjectFault: TypeAlias = Callable[[World, int], None]
StartWorld: TypeAlias = Callable[..., AbstractContextManager[World]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """times: repetitions in a full run; a quick run injects the fault once. start: the world, as
    `start_world`."""

    name: str
    inject_fault: InjectFault
    times: int
    rate_per_s: float = 60.0
    audited: bool = False
    start: StartWorld = start_world
