"""`python -m bench --door smtp`: how many messages per second are accepted.

The same messages by REST and by SMTP submission, both with TLS and a key, and by Postfix, which
relays for whoever connects. Each has 20 sessions, and delivery goes on behind it.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import cast

from bench import cpu
from bench.contestant import Contestant
from bench.engine import engine
from bench.folder import folder_of
from bench.load.latency import Summary
from bench.peers.postfix import postfix
from bench.printing import console, print_table, progress
from bench.signature import time_rsa_2048
from bench.sink.client import sink
from bench.turns import FULL, QUICK, Load, TurnContext, run, warm_up

SESSIONS = 20
TLS_LISTEN = {"rest": "INGEST_HTTP_TLS_LISTEN", "smtp": "INGEST_SUBMISSION_TLS_LISTEN"}
SECONDS, QUICK_SECONDS = 15.0, 5.0


@dataclass(slots=True)
class Intake:
    """The turns of one way in."""

    accepted_per_s: list[float] = field(default_factory=list)
    accept_ms: list[Summary] = field(default_factory=list)
    outcomes: list[dict[str, int]] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)  # per message, of ingest or Postfix

    def as_json(self) -> dict[str, object]:
        return {
            "accepted_per_s": round(median(self.accepted_per_s), 1),
            "turns": self.accepted_per_s,
            "accept_ms": self.accept_ms,
            "cpu_ms": self.cpu_ms,
            "outcomes": self.outcomes,
        }


def measure_intake(*, turns: int, quick: bool) -> dict[str, object]:
    """Raises NotInstalled without Postfix."""
    found = {name: Intake() for name in ("rest", "smtp", "postfix")}
    seconds = QUICK_SECONDS if quick else SECONDS
    signature_ms = time_rsa_2048()
    with sink([]) as started, progress(console) as report_progress:
        context = TurnContext(started, QUICK if quick else FULL, report_progress)
        take = partial(take_turn, context, found, seconds=seconds)
        with folder_of("engine") as root, engine(root, context.routes) as contestant:
            ours = [
                listener_of(contestant, "rest", "http"),
                listener_of(contestant, "smtp", "smtp"),
            ]
            for one in ours:
                warm_up(context, one)
            for _ in range(turns):
                for one in ours:
                    take(one)
        with folder_of("postfix") as root, postfix(root, context.routes) as contestant:
            warm_up(context, contestant)
            for _ in range(turns):
                take(replace(contestant, connections=SESSIONS))
    show(found)
    figures = {name: intake.as_json() for name, intake in found.items()}
    return {"signature_ms": signature_ms, "quick": quick, "door": figures}


def listener_of(contestant: Contestant, name: str, protocol: str) -> Contestant:
    """A listener of the engine with implicit TLS."""
    port = contestant.settings[TLS_LISTEN[name]].rpartition(":")[2]
    return replace(
        contestant, name=name, protocol=protocol, port=int(port), tls=True, connections=SESSIONS
    )


def take_turn(
    context: TurnContext, found: dict[str, Intake], contestant: Contestant, *, seconds: float
) -> None:
    """Accept for so many seconds, and wait until everything is delivered."""
    load = Load("intake", 0, seconds=seconds, is_intake=True)
    before = accepting_seconds(contestant)
    result = run(context, contestant, load)
    spent_s = accepting_seconds(contestant) - before
    intake = found[contestant.name]
    intake.cpu_ms.append(round(spent_s * 1000 / max(1, int(str(result["accepted"]))), 2))
    rate = float(str(result["accepted"])) / float(str(result["seconds"]))
    intake.accepted_per_s.append(round(rate, 1))
    intake.accept_ms.append(cast(Summary, result["accept_ms"]))
    intake.outcomes.append(cast(dict[str, int], result["outcomes"]))
    console.print(f"{contestant.name}: {rate:.0f} accepted per second")


def accepting_seconds(contestant: Contestant) -> float:
    """CPU time of ingest, or of all of Postfix, whose processes accept and deliver."""
    used = cpu.snapshot(contestant.processes)
    return used.get("ingest") or sum(used.values())


def show(found: dict[str, Intake]) -> None:
    rest = median(found["rest"].accepted_per_s)
    print_table(
        console,
        f"Messages accepted per second, {SESSIONS} sessions each",
        columns=("door", "accepted/s", "of REST", "accept p50 ms", "p99 ms", "CPU ms", "turns"),
        rows=[row(name, intake, rest) for name, intake in found.items()],
    )


def row(name: str, intake: Intake, rest: float) -> tuple[str, ...]:
    rate = median(intake.accepted_per_s)
    p50, p99 = (median(one[key] for one in intake.accept_ms) for key in ("p50", "p99"))
    turns = " ".join(f"{one:.0f}" for one in intake.accepted_per_s)
    spent = f"{median(intake.cpu_ms):.2f}"
    return name, f"{rate:.0f}", f"{rate / rest:.2f}", f"{p50:.1f}", f"{p99:.1f}", spent, turns
