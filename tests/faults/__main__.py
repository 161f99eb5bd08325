"""`python -m tests.faults`: all fault scenarios in full, and the seeded bugs that they must
catch."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.faults import bugs as seeded
from tests.faults.quick import quick_scenarios
from tests.faults.run import Result, run_scenario
from tests.faults.scenario import Scenario
from tests.faults.scenarios import SCENARIOS

# In network namespaces, on file systems of their own, and at port 25.
FOR_ROOT = ("nodes: ", "full disk", "dns away")
console = Console(highlight=False)
app = typer.Typer(add_completion=False)


@app.command()
def main(
    *,
    scenario: Annotated[
        list[str] | None,
        typer.Option(help="Name of a scenario or its beginning; may be repeated. Default: all"),
    ] = None,
    quick: Annotated[bool, typer.Option(help="Run each fault once")] = False,
    times: Annotated[
        int, typer.Option(help="Repetitions of each fault; 0: the number of the scenario")
    ] = 0,
    bugs: Annotated[bool, typer.Option(help="Run the seeded bugs too")] = True,
    seed: Annotated[int, typer.Option(help="Seed of all random delays")] = 1,
    logs: Annotated[Path | None, typer.Option(help="Folder that receives all logs")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File that receives the results")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the scenarios and exit")] = False,
) -> None:
    """Kill, pause and poison the engine under load, and count its messages."""
    if list_:
        console.print("\n".join(SCENARIOS))
        return
    selected = select(quick_scenarios() if quick else SCENARIOS, scenario)
    results = []
    for number, one in enumerate(selected, 1):
        console.print(f"[dim]{number}/{len(selected)} {one.name} …[/dim]")
        folder = logs / re.sub("[^a-z0-9._]+", "-", one.name) if logs else None
        result = run_scenario(replace(one, times=times) if times else one, seed=seed, folder=folder)
        print_result(result)
        results.append(result)
    missed = [] if scenario or not bugs else [bug for bug in seeded.BUGS if not check_bug(bug)]
    if json_file:
        json_file.write_text(json.dumps([to_json(result) for result in results], indent=1))
    failed = [result.scenario for result in results if not result.passed]
    console.print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if failed or missed:
        raise typer.Exit(1)


def select(scenarios: Mapping[str, Scenario], prefixes: list[str] | None) -> list[Scenario]:
    """The scenarios whose names begin with one of the prefixes; without a prefix, all that this
    user can run."""
    starts = tuple(prefixes or [""])
    possible = prefixes or os.geteuid() == 0
    selected = [
        one
        for name, one in scenarios.items()
        if name.startswith(starts) and (possible or not name.startswith(FOR_ROOT))
    ]
    if not selected:
        raise typer.BadParameter(
            f"unknown scenario {prefixes}. Run with --list to see their names."
        )
    return selected


def print_result(result: Result) -> None:
    console.print(result.summary(), style="" if result.passed else "red")
    for problem in result.report.problems[:10]:
        console.print(f"       {problem}", style="red")


def check_bug(bug: "seeded.Bug") -> bool:
    is_caught = seeded.is_caught(bug)
    console.print(
        f"{'caught' if is_caught else 'MISSED'} {bug.name}", style="" if is_caught else "red"
    )
    return is_caught


def to_json(result: Result) -> dict[str, object]:
    return {
        "scenario": result.scenario,
        "passed": result.passed,
        "faults": result.faults,
        "messages": result.report.messages,
        "copies": result.report.copies,
        "flagged": result.report.flagged,
        "flags_possible": result.flags_allowed,
        "problems": result.report.problems,
        "seconds": round(result.seconds, 1),
        "notes": result.notes,
    }


if __name__ == "__main__":
    app()
