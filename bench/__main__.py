"""`python -m bench`: engine and peers carry the same messages to the same sink, in turns."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import profiling
from bench.contestant import Contestant
from bench.durable import NotDurable
from bench.engine import engine as start_engine
from bench.peers.postfix import postfix
from bench.peers.rspamd import postfix_rspamd
from bench.peers.start import NotInstalled, Routes
from bench.report import ENGINE, Report, show
from bench.signature import time_rsa_2048
from bench.sink.client import sink
from bench.turns import FULL, QUICK, Tell, Track, Turn, engine_turn, peer_turn, profile_turn
from cli.environment import SERVICES
from kernel.embedded import EmbeddedError

SAMPLE_EVERY = 97  # a prime, so that the sample walks over all sites and texts
PROFILE_S = 20
Start = Callable[[Path, Routes], AbstractContextManager[Contestant]]
PEERS: dict[str, Start] = {"postfix": postfix, "postfix-rspamd": postfix_rspamd}
START: dict[str, Start] = {ENGINE: start_engine} | PEERS
console = Console()
app = typer.Typer(add_completion=False)


@app.command()
def main(
    *,
    peer: Annotated[list[str] | None, typer.Option(help=f"{' or '.join(PEERS)}, repeated")] = None,
    turns: Annotated[int, typer.Option(min=1, help="turns of each contestant")] = 3,
    quick: Annotated[bool, typer.Option(help="seconds instead of minutes, to try it")] = False,
    engine: Annotated[bool, typer.Option(help="measure the engine, or the peers alone")] = True,
    profile: Annotated[list[str] | None, typer.Option(help="sample this service, repeated")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Measure the engine and its peers in turns, and print the medians."""
    check_names(peer or [], PEERS)
    check_names(profile or [], SERVICES)
    order = ([ENGINE] if engine else []) + list(peer or [])
    try:
        report = measure(order, turns=turns, quick=quick, profile=profile or [])
    except (NotInstalled, NotDurable, EmbeddedError) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    show(report, console)
    if json_file:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")


def check_names(given: Sequence[str], known: "Sequence[str] | dict[str, Start]") -> None:
    for name in given:
        if name not in known:
            raise typer.BadParameter(f"there is no {name!r}, only {', '.join(known)}")


def measure(order: Sequence[str], *, turns: int, quick: bool, profile: Sequence[str]) -> Report:
    """Every contestant once per turn, so that a slow hour of the machine is everybody's."""
    found: dict[str, list[Turn]] = {name: [] for name in order}
    signature_ms = time_rsa_2048()
    with sink([f"--sample-every={SAMPLE_EVERY}"]) as started, progress() as tell:
        track = Track(started, QUICK if quick else FULL, tell)
        for number in range(turns):
            for name in order:
                turn = take_turn(track, name, profile if number == turns - 1 else [])
                found[name].append(turn)
                console.print(f"turn {number + 1}, {name}: {turn.delivered_per_s:.0f} msg/s")
    return Report(found, signature_ms)


def take_turn(track: Track, name: str, profile: Sequence[str]) -> Turn:
    """One contestant from its start to its end, in a folder of its own."""
    with folder_of(name) as root, START[name](root, track.routes) as contestant:
        if name != ENGINE:
            return peer_turn(track, contestant)
        turn = engine_turn(track, contestant)
        if profile:
            take_profile(track, contestant, profile)
        return turn


def take_profile(track: Track, contestant: Contestant, names: Sequence[str]) -> None:
    """Under a load of its own, after what was measured."""
    pids = {name: contestant.processes[name] for name in names}
    samplers = profiling.start(pids, PROFILE_S)
    profile_turn(track, contestant, PROFILE_S)
    for path in profiling.finish(samplers):
        console.print(f"profile: {path}")


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """A folder that the peers' own users can enter; it stays, with its logs, after a failure."""
    root = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    root.chmod(0o755)
    try:
        yield root
    except BaseException:
        console.print(f"what {name} wrote is in {root}")
        raise
    shutil.rmtree(root, ignore_errors=True)


@contextmanager
def progress() -> Iterator[Tell]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("starting")

        def tell(phase: str, done: int, total: int) -> None:
            bar.update(task, description=phase, completed=done, total=total)

        yield tell


if __name__ == "__main__":
    app()
