"""`python -m tests.faults`: every fault in full numbers, and the seeded bugs to be caught."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.faults import bugs as seeded
from tests.faults.run import Result, examine
from tests.faults.scenarios import SCENARIOS
from tests.faults.scenarios import quick as quickly

console = Console(highlight=False)
app = typer.Typer(add_completion=False)


@app.command()
def main(
    *,
    scenario: Annotated[
        list[str] | None, typer.Option(help="its name or how it begins, repeated; default: all")
    ] = None,
    quick: Annotated[bool, typer.Option(help="each once")] = False,
    times: Annotated[int, typer.Option(help="how often each; 0: as it says itself")] = 0,
    bugs: Annotated[bool, typer.Option(help="the seeded bugs too")] = True,
    seed: Annotated[int, typer.Option(help="of every choice of moment")] = 1,
    keep: Annotated[Path | None, typer.Option(help="keep every log in this folder")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write results here")] = None,
    list_: Annotated[bool, typer.Option("--list", help="name the scenarios")] = False,
) -> None:
    """Kill, pause, wipe and poison the engine under load, and count what became of the mail."""
    if list_:
        console.print("\n".join(SCENARIOS))
        return
    known = quickly() if quick else SCENARIOS
    chosen = [one for name, one in known.items() if wanted(name, scenario)]
    if not chosen:
        raise typer.BadParameter(f"no scenario {scenario}; --list names them")
    results = []
    for number, one in enumerate(chosen, 1):
        console.print(f"[dim]{number}/{len(chosen)} {one.name} …[/dim]")
        folder = keep / re.sub("[^a-z0-9._]+", "-", one.name) if keep else None
        asked = replace(one, times=times) if times else one
        result = examine(asked, seed=seed, folder=folder)
        tell(result)
        results.append(result)
    missed = [] if scenario or not bugs else [bug for bug in seeded.BUGS if not caught(bug)]
    if json_file:
        json_file.write_text(json.dumps([report(result) for result in results], indent=1))
    failed = [result.scenario for result in results if not result.passed]
    console.print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if failed or missed:
        raise typer.Exit(1)


def wanted(name: str, asked: list[str] | None) -> bool:
    return not asked or any(name.startswith(prefix) for prefix in asked)


def tell(result: Result) -> None:
    console.print(result.line(), style="" if result.passed else "red")
    for problem in result.verdict.problems[:10]:
        console.print(f"       {problem}", style="red")


def caught(bug: "seeded.Bug") -> bool:
    found = seeded.is_caught(bug)
    console.print(f"{'caught' if found else 'MISSED'} {bug.name}", style="" if found else "red")
    return found


def report(result: Result) -> dict[str, object]:
    return {
        "scenario": result.scenario,
        "passed": result.passed,
        "faults": result.faults,
        "messages": result.verdict.messages,
        "copies": result.verdict.copies,
        "flagged": result.verdict.flagged,
        "flags_possible": result.flags_allowed,
        "problems": result.verdict.problems,
        "seconds": round(result.seconds, 1),
    }


if __name__ == "__main__":
    app()
