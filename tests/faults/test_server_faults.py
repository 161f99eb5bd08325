"""Every other fault once: of servers, records, connections and whole installations.

All in one world; after each, the oracle checks all messages since the start. `make faults` runs the
same scenarios in full, each in its own world.
"""

from collections.abc import Iterator

import pytest

from tests.faults.quick import assert_passes, is_of_process, quick_scenarios, quick_world
from tests.faults.world import World

SCENARIOS = {name: one for name, one in quick_scenarios().items() if not is_of_process(name)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with quick_world(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.mark.timeout(600)  # draining is slow on a busy machine
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_message_is_delivered_once_and_every_copy_is_flagged(world: World, name: str) -> None:
    assert_passes(world, SCENARIOS[name])
