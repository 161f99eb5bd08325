"""`python -m bench`: the engine and its peers send the same messages to the same sink, in turns."""

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from bench import commits, comparison, profiling, record
from bench.against import RESULTS_VARIABLE, NotComparable, take_pairs
from bench.commits import GitFailed
from bench.contestant import Contestant
from bench.durable import NotDurable
from bench.engine import engine as start_engine
from bench.folder import folder_of
from bench.intake import measure_intake
from bench.peers.postfix import postfix
from bench.peers.rspamd import postfix_rspamd
from bench.peers.start import NotInstalled, Routes
from bench.printing import console, progress
from bench.report import ENGINE, Report, show
from bench.signature import time_rsa_2048
from bench.sink.client import sink
from bench.tracking import measure_tracking
from bench.turns import FULL, QUICK, Turn, TurnContext, engine_turn, peer_turn, profile_turn
from cli.environment import SERVICES
from kernel.embedded import EmbeddedError

SAMPLE_EVERY = 97  # a prime number, so that the sample covers all sites and texts
PROFILE_S = 20
Start = Callable[[Path, Routes], AbstractContextManager[Contestant]]
PEERS: dict[str, Start] = {"postfix": postfix, "postfix-rspamd": postfix_rspamd}
START: dict[str, Start] = {ENGINE: start_engine} | PEERS
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(  # noqa: PLR0913 - an option for each
    *,
    peer: Annotated[list[str] | None, typer.Option(help=f"{' or '.join(PEERS)}, repeated")] = None,
    turns: Annotated[int, typer.Option(min=1, help="turns of each contestant")] = 3,
    quick: Annotated[bool, typer.Option(help="measure seconds instead of minutes")] = False,
    engine: Annotated[bool, typer.Option(help="measure the engine; without it only peers")] = True,
    profile: Annotated[
        list[str] | None, typer.Option(help="profile this service, repeated")
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="REV", help="compare with this commit, in turns")
    ] = "",
    intake: Annotated[
        Literal["smtp"] | None,
        typer.Option("--door", help="measure only what SMTP accepts, beside REST and Postfix"),
    ] = None,
    tracking: Annotated[
        bool, typer.Option(help="measure only what tracking opens and clicks costs")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the figures to this file")
    ] = None,
    results: Annotated[
        Path,
        typer.Option(
            envvar=RESULTS_VARIABLE, help="folder for results", show_default="bench/results"
        ),
    ] = record.RESULTS,
) -> None:
    """Measure the engine and its peers in turns, and print the medians."""
    only = measure_intake if intake else measure_tracking if tracking else None
    chosen = Choice(peer or [], profile or [], against, engine, only)
    check(chosen)
    document = record.describe_origin()
    try:
        document |= measure_chosen(chosen, turns=turns, quick=quick)
    except (NotInstalled, NotDurable, EmbeddedError, GitFailed, NotComparable) as error:
        console.print(str(error), style="red")
        raise typer.Exit(2) from error
    keep(document, json_file=json_file, results=results)


def keep(document: Mapping[str, object], *, json_file: Path | None, results: Path) -> None:
    console.print(f"\nOne RSA-2048 signature on this machine: {document['signature_ms']} ms")
    if json_file:
        record.write(document, json_file)
    console.print(f"results: {record.save(document, results)}")


class Choice(NamedTuple):
    """What to measure. only: one thing, instead of contestants."""

    peers: Sequence[str]
    profile: Sequence[str]
    against: str
    engine: bool
    only: "Callable[..., dict[str, object]] | None" = None

    @property
    def order(self) -> list[str]:
        return ([ENGINE] if self.engine else []) + list(self.peers)


def measure_chosen(chosen: Choice, *, turns: int, quick: bool) -> dict[str, object]:
    if chosen.only:
        return chosen.only(turns=turns, quick=quick)
    if chosen.against:
        return measure_against(chosen.against, turns=turns, quick=quick)
    return measure(chosen.order, turns=turns, quick=quick, profile=chosen.profile)


def check(chosen: Choice) -> None:
    """Raises BadParameter."""
    check_names(chosen.peers, PEERS)
    check_names(chosen.profile, SERVICES)
    is_restricted = chosen.peers or chosen.profile or not chosen.engine
    if chosen.against and is_restricted:
        raise typer.BadParameter("--against compares engines. Use it without --peer and --profile.")
    if chosen.only and (chosen.against or is_restricted):
        raise typer.BadParameter(
            "--door and --tracking measure only that. Use them with --turns and --quick."
        )


def check_names(given: Sequence[str], known: "Sequence[str] | dict[str, Start]") -> None:
    for name in given:
        if name not in known:
            raise typer.BadParameter(f"unknown {name!r}, use {', '.join(known)}")


def measure(
    order: Sequence[str], *, turns: int, quick: bool, profile: Sequence[str]
) -> dict[str, object]:
    """Measure every contestant once per turn, so that a slow phase of the machine affects all."""
    found: dict[str, list[Turn]] = {name: [] for name in order}
    signature_ms = time_rsa_2048()
    with sink([f"--sample-every={SAMPLE_EVERY}"]) as started, progress(console) as report_progress:
        context = TurnContext(started, QUICK if quick else FULL, report_progress)
        for number in range(turns):
            for name in order:
                turn = take_turn(context, name, profile if number == turns - 1 else [])
                found[name].append(turn)
                console.print(f"turn {number + 1}, {name}: {turn.delivered_per_s:.0f} msg/s")
    report = Report(found, signature_ms)
    show(report, console)
    return {"quick": quick} | report.as_json()


def measure_against(revision: str, *, turns: int, quick: bool) -> dict[str, object]:
    """Measure this tree and another commit in turns, each with its own bench."""
    old = commits.find(revision)
    signature_ms = time_rsa_2048()
    pairs = take_pairs(old, turns=turns, quick=quick)
    comparison.show(pairs, console)
    document = {"against": old, "quick": quick, "signature_ms": signature_ms}
    return document | comparison.as_json(pairs)


def take_turn(context: TurnContext, name: str, profile: Sequence[str]) -> Turn:
    """Start, measure and stop one contestant, in a folder of its own."""
    context.report_progress(f"{name}: starting", 0, 1)
    with folder_of(name) as root, START[name](root, context.routes) as contestant:
        if name != ENGINE:
            return peer_turn(context, contestant)
        turn = engine_turn(context, contestant)
        if profile:
            take_profile(context, contestant, profile)
        return turn


def take_profile(context: TurnContext, contestant: Contestant, names: Sequence[str]) -> None:
    """Profile under a separate load, after the measurement."""
    pids = {name: contestant.processes[name] for name in names}
    samplers = profiling.start(pids, PROFILE_S)
    profile_turn(context, contestant, PROFILE_S)
    for path in profiling.finish(samplers):
        console.print(f"profile: {path}")


if __name__ == "__main__":
    for signum in (signal.SIGINT, signal.SIGTERM):  # both clean up, also in the background
        signal.signal(signum, signal.default_int_handler)
    app()
