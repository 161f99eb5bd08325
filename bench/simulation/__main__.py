"""`python -m bench.simulation`: new egress sources of several senders, at the same receivers."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench.printing import console, progress
from bench.simulation.parameters import load_world
from bench.simulation.picture import draw
from bench.simulation.report import Outcome, outcome_of, print_summary, summarize_all
from bench.simulation.run import History, Run, Setting
from bench.simulation.senders.catalog import sender_names, senders

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def simulate(name: str, setting: Setting, world: Path | None, *, seed: int) -> History:
    return Run(senders()[name], load_world(world), setting, seed=seed).simulate()


def simulate_seed(
    names: Sequence[str], setting: Setting, world: Path | None, *, seed: int
) -> dict[str, Outcome]:
    """The senders, one after another, in this seed's world."""
    return {name: outcome_of(simulate(name, setting, world, seed=seed)) for name in names}


@app.command()
def main(  # noqa: PLR0913 - an option for each
    *,
    seeds: Annotated[int, typer.Option(min=1, help="worlds, each drawn anew")] = 20,
    first_seed: Annotated[int, typer.Option(min=0, help="number of the first world")] = 0,
    days: Annotated[int, typer.Option(min=20, help="days of each world")] = 100,
    volume: Annotated[int, typer.Option(min=1000, help="messages per day")] = 250_000,
    sources: Annotated[int, typer.Option(min=1, help="egress sources, all of them new")] = 1,
    sender: Annotated[
        list[str] | None, typer.Option(help=f"{' or '.join(sender_names())}, repeated")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="processes")] = 1,
    world: Annotated[
        Path | None, typer.Option(help="receivers", show_default="world.toml of the simulation")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the figures to this file")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="draw the first world to this SVG file")
    ] = None,
) -> None:
    """Simulate senders at receivers, and print how they fare."""
    setting, names = Setting(days, volume, sources), sender or sender_names()
    outcomes: list[dict[str, Outcome]] = []
    numbers = range(first_seed, first_seed + seeds)
    with progress(console) as report:
        for found in simulate_all(
            partial(simulate_seed, names, setting, world), numbers, jobs=jobs
        ):
            outcomes.append(found)
            report("worlds", len(outcomes), seeds)
    figures = summarize_all(outcomes, setting)
    print_summary(figures)
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if picture:
        histories = {n: simulate(n, setting, world, seed=first_seed) for n in names}
        picture.write_text(draw(histories, load_world(world)))


def simulate_all(
    simulate_one: Callable[..., dict[str, Outcome]], numbers: range, *, jobs: int
) -> Iterator[dict[str, Outcome]]:
    if jobs == 1:
        yield from (simulate_one(seed=number) for number in numbers)
        return
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(simulate_one, seed=number) for number in numbers]
        yield from (future.result() for future in futures)


if __name__ == "__main__":
    app()
