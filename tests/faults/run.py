"""Runs one scenario, from an empty folder to a report."""

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.backlog import describe_backlog
from tests.faults.figures import problems_of_figures
from tests.faults.oracle import Report, check, collect
from tests.faults.scenario import Scenario
from tests.faults.world import World

WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    scenario: str
    report: Report
    faults: int
    flags_allowed: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.report.problems

    def summary(self) -> str:
        report = self.report
        return (
            f"{'ok  ' if self.passed else 'FAIL'} {self.scenario}: {self.faults} faults,"
            f" {report.messages} messages, {report.copies} copies, {report.flagged} flagged"
            f" of {self.flags_allowed} possible, {self.seconds:.0f} s"
            + "".join(f", {note}" for note in self.notes)
        )


def run_scenario(scenario: Scenario, *, seed: int, folder: Path | None = None) -> Result:
    """folder: receives data and logs, and is not deleted; None: a temporary folder."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        return _run_in_folder(scenario, folder, seed)
    with tempfile.TemporaryDirectory(prefix="obm-faults-") as temporary:
        return _run_in_folder(scenario, Path(temporary), seed)


def _run_in_folder(scenario: Scenario, folder: Path, seed: int) -> Result:
    load = scenario.rate_per_s
    with scenario.start(folder, seed=seed, rate_per_s=load, audited=scenario.audited) as world:
        return run_in_world(world, scenario)


def run_in_world(world: World, scenario: Scenario) -> Result:
    """Inject faults into a running world, wait until it has recovered, and check it."""
    started_s = time.monotonic()
    time.sleep(WARM_UP_S)
    problems = []
    inject = partial(scenario.inject_fault, world, scenario.times)
    for step in (inject, world.recover, world.drain):
        try:
            step()
        except (AssertionError, RuntimeError) as error:
            problems.append(str(error))
    world.client.stop()
    if problems:
        problems += describe_backlog(world)
    else:
        problems += problems_of_figures(world)
    report = check(collect(world))
    report.problems[:0] = problems
    return Result(
        scenario.name,
        report,
        faults=world.faults,
        flags_allowed=world.data_sent_count,
        seconds=time.monotonic() - started_s,
        notes=tuple(world.notes),
    )
