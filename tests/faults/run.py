"""One scenario from an empty folder to a verdict."""

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.oracle import Verdict, collect, judge
from tests.faults.scenarios import Scenario
from tests.faults.world import World, world

WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    scenario: str
    verdict: Verdict
    faults: int
    flags_allowed: int
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.verdict.problems

    def line(self) -> str:
        verdict = self.verdict
        return (
            f"{'ok  ' if self.passed else 'FAIL'} {self.scenario}: {self.faults} faults,"
            f" {verdict.messages} messages, {verdict.copies} copies, {verdict.flagged} flagged"
            f" of {self.flags_allowed} possible, {self.seconds:.0f} s"
        )


def examine(scenario: Scenario, *, seed: int, folder: Path | None = None) -> Result:
    """folder: kept, with every log, for who wants to look; otherwise temporary."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        return _examine(scenario, folder, seed)
    with tempfile.TemporaryDirectory(prefix="obm-faults-") as temporary:
        return _examine(scenario, Path(temporary), seed)


def _examine(scenario: Scenario, folder: Path, seed: int) -> Result:
    load = scenario.rate_per_s
    with world(folder, seed=seed, rate_per_s=load, audited=scenario.audited) as there:
        return judged(there, scenario)


def judged(there: World, scenario: Scenario) -> Result:
    """Act on a world that is running, let it come to rest, and ask the oracle."""
    began = time.monotonic()
    time.sleep(WARM_UP_S)
    problems = []
    for step in (partial(scenario.act, there, scenario.times), there.revive, there.drain):
        try:
            step()
        except (AssertionError, RuntimeError) as error:
            problems.append(str(error))
    there.client.stop()
    verdict = judge(collect(there))
    verdict.problems[:0] = problems
    return Result(
        scenario.name, verdict, there.faults, there.at_data_sent, time.monotonic() - began
    )
