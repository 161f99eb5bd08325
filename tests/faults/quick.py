"""The scenarios of every test run: each fault once, for a short time, in a shared world."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from tests.faults import slow_dependencies as slow
from tests.faults.broker import stop_kafka
from tests.faults.failpoints import FAILPOINTS
from tests.faults.reactions import stop_servers
from tests.faults.run import run_in_world
from tests.faults.scenario import Scenario
from tests.faults.scenarios import (
    STOP_SERVERS,
    crash_at,
    faults_under_reactions,
    single_faults,
)
from tests.faults.world import World, start_world
from tests.support.forked_process import ForkedProcess

RATE_PER_S = 10.0
QUICK_OUTAGE_S = 5.0


# Other quick scenarios cover these faults: crash everywhere, crash under reactions, freeze at,
# failover, stop kafka, stop servers, stop together, daily limit at failover.
COVERED_BY_OTHERS = {
    "kill services", "pause", "kill kafka", "stop in turn", "scheduler changes", "random faults",
    *(one.name for one in faults_under_reactions()),
} - {"crash under reactions", STOP_SERVERS}  # fmt: skip


# As the full run, but for shorter: still longer than a session, a lease and a sweep.
QUICK = {
    "slow directory": partial(slow.slow_directory, replay_s=QUICK_OUTAGE_S),
    "stop kafka": partial(stop_kafka, outage_s=QUICK_OUTAGE_S),
    STOP_SERVERS: partial(stop_servers, outage_s=QUICK_OUTAGE_S),
}


def quick_scenarios() -> dict[str, Scenario]:
    """Each fault once, and all crashes in one scenario."""
    everywhere = Scenario("crash everywhere", partial(crash_at, points=FAILPOINTS), times=1)
    others = [
        one
        for one in single_faults()
        if not one.name.startswith("crash at") and one.name not in COVERED_BY_OTHERS
    ]
    return {
        one.name: replace(one, times=1, inject_fault=QUICK.get(one.name, one.inject_fault))
        for one in (everywhere, *others)
    }


def is_of_process(name: str) -> bool:
    """Whether the fault is one of a process of the engine. One worker runs these, another one the
    others, which take as long."""
    return name.startswith(("no fault", "crash", "kill", "freeze", "failover", "daily limit"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    with start_world(
        folder, seed=7, rate_per_s=RATE_PER_S, audited=True, process=ForkedProcess
    ) as running:
        yield running


def assert_passes(world: World, scenario: Scenario) -> None:
    """Run a scenario in a world in which others have run."""
    if world.client.stopped:
        world.client.resume()
    result = run_in_world(world, scenario)
    problems = result.report.problems
    assert not problems, "\n".join([result.summary(), *problems[:40]])
