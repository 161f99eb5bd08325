"""`python -m bench`: engine and peers carry the same messages to the same sink, in turns."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.contestant import Contestant
from bench.peers.postfix import postfix
from bench.peers.rspamd import postfix_rspamd
from bench.peers.start import NotInstalled, Routes
from bench.report import ENGINE, Report, show
from bench.signature import time_rsa_2048
from bench.sink.client import sink
from bench.turns import FULL, QUICK, Tell, Track, Turn, peer_turn

SAMPLE_EVERY = 97  # a prime, so that the sample walks over all sites and texts
START: dict[str, Callable[[Path, Routes], AbstractContextManager[Contestant]]] = {
    "postfix": postfix,
    "postfix-rspamd": postfix_rspamd,
}
console = Console()
app = typer.Typer(add_completion=False)


@app.command()
def main(
    *,
    peer: Annotated[list[str] | None, typer.Option(help=f"{' or '.join(START)}, repeated")] = None,
    turns: Annotated[int, typer.Option(min=1, help="turns of each contestant")] = 3,
    quick: Annotated[bool, typer.Option(help="seconds instead of minutes, to try it")] = False,
    engine: Annotated[bool, typer.Option(help="measure the engine, or the peers alone")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Measure the engine and its peers in turns, and print the medians."""
    names = list(peer or [])
    if unknown := [name for name in names if name not in START]:
        raise typer.BadParameter(f"no peer {unknown[0]!r}; there are {', '.join(START)}")
    order = ([ENGINE] if engine else []) + names
    signature_ms = time_rsa_2048()
    found: dict[str, list[Turn]] = {name: [] for name in order}
    try:
        with sink([f"--sample-every={SAMPLE_EVERY}"]) as started, progress() as tell:
            track = Track(started, QUICK if quick else FULL, tell)
            for number in range(turns):
                for name in order:
                    found[name].append(take_turn(track, name))
                    told = f"turn {number + 1}, {name}: {found[name][-1].delivered_per_s:.0f} msg/s"
                    console.print(told)
    except NotInstalled as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    finish(Report(found, signature_ms), json_file)


def take_turn(track: Track, name: str) -> Turn:
    """One contestant from its start to its end, in a folder of its own that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
        root = Path(folder)
        root.chmod(0o755)  # the peers' own users must come in
        with START[name](root / "home", track.routes) as contestant:
            return peer_turn(track, contestant)


def finish(report: Report, json_file: Path | None) -> None:
    show(report, console)
    if json_file:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")


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
