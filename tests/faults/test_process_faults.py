"""Every fault of a process once: it is killed, freezes, or another one takes over.

All in one world; after each, the oracle checks all messages since the start. `make faults` runs the
same scenarios in full, each in its own world.
"""

import pytest

from tests.faults.quick import assert_passes, is_of_process, quick_scenarios, world
from tests.faults.world import World

__all__ = ["world"]
SCENARIOS = {name: one for name, one in quick_scenarios().items() if is_of_process(name)}


@pytest.mark.timeout(600)  # draining is slow on a busy machine
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_message_is_delivered_once_and_every_copy_is_flagged(world: World, name: str) -> None:
    assert_passes(world, SCENARIOS[name])
