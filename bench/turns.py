"""One turn of one contestant: run loads, count at the sink, and measure with /proc."""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast

from bench import cpu, memory
from bench.child import Json, end, spawn
from bench.contestant import Contestant
from bench.load.latency import Summary, summary
from bench.messages import sites
from bench.printing import ReportProgress
from bench.signature import count_valid
from bench.sink.client import RunningSink

POLL_S = 0.2
STALLED_AFTER_S = 30.0
SERIALS_PER_PHASE = 10_000_000
LATE_COPIES_S = 1.0  # wait for late copies


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a measurement. The closed loop ends when both count and seconds are reached."""

    seconds: float
    count: int
    warmup: int
    idle_count: int  # at idle_rate, to measure the time to the first attempt
    rate_count: int  # at rate, to measure the accept latency
    idle_rate: float = 10.0
    rate: float = 100.0
    backlog: int = 2000  # maximum number of accepted but undelivered messages


FULL = Scale(seconds=60, count=20_000, warmup=3000, idle_count=300, rate_count=3000)
QUICK = Scale(seconds=5, count=1500, warmup=500, idle_count=60, rate_count=500)


@dataclass(frozen=True, slots=True)
class Turn:
    contestant: str
    delivered_per_s: float
    accept_ms: Summary  # under full load
    cpu_ms: dict[str, float]  # per message, by process
    accepted: int
    delivered: int  # recipients counted by the sink
    duplicates: int
    outcomes: dict[str, int]
    sampled: int
    verified: int
    rest_mb: Summary = field(default_factory=dict)  # before any load, by process
    load_mb: Summary = field(default_factory=dict)  # after the full load
    peak_mb: Summary = field(default_factory=dict)  # peak of each process itself
    steady_accept_ms: Summary = field(default_factory=dict)  # at `Scale.rate`
    first_attempt_ms: Summary = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TurnContext:
    sink: RunningSink
    scale: Scale
    report_progress: ReportProgress
    serials: Iterator[int] = field(default_factory=lambda: itertools.count(step=SERIALS_PER_PHASE))

    @property
    def routes(self) -> dict[str, tuple[str, int]]:
        """Recipient domain → address and port of its site at the sink."""
        addresses = self.sink.addresses
        return {
            domain: (address, self.sink.port)
            for domain, address in zip(sites(len(addresses)), addresses, strict=True)
        }


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the load generator; rate 0 is the closed loop. is_intake: however many accepted
    messages wait."""

    phase: str
    count: int
    seconds: float = 0.0
    rate: float = 0.0
    keep_times: bool = False
    is_intake: bool = False


def peer_turn(context: TurnContext, contestant: Contestant) -> Turn:
    rest = memory.snapshot(contestant.processes)
    warm_up(context, contestant)
    return replace(full_load(context, contestant), rest_mb=rest)


def engine_turn(context: TurnContext, contestant: Contestant) -> Turn:
    """Like peer_turn, after measuring latencies at low rates."""
    rest = memory.snapshot(contestant.processes)
    warm_up(context, contestant)
    first = first_attempts(context, contestant)
    steady = steady_accept(context, contestant)
    turn = full_load(context, contestant)
    return replace(turn, first_attempt_ms=first, steady_accept_ms=steady, rest_mb=rest)


def profile_turn(context: TurnContext, contestant: Contestant, seconds: int) -> None:
    """Full load for the given time without a measurement, for a profiler."""
    run(context, contestant, Load("profile", 0, seconds=seconds))


def warm_up(context: TurnContext, contestant: Contestant) -> None:
    run(context, contestant, Load("warm-up", context.scale.warmup))


def full_load(context: TurnContext, contestant: Contestant) -> Turn:
    """The maximum throughput, from the first to the last delivered message."""
    processes = dict(contestant.processes) | {"sink": context.sink.pid}
    busy_before, before = cpu.busy_seconds(), cpu.snapshot(processes)
    result = run(context, contestant, Load("full load", context.scale.count, context.scale.seconds))
    after, busy = cpu.snapshot(processes), cpu.busy_seconds() - busy_before
    accepted = int(str(result["accepted"]))
    load = float(str(result["cpu_seconds"]))
    spent = cpu.milliseconds_each(before | {"load": 0.0}, after | {"load": load}, accepted)
    everything = cpu.milliseconds_each({"all": 0.0}, {"all": busy}, accepted)
    rest = max(0.0, everything.get("all", 0.0) - sum(spent.values()))
    sample, stats = context.sink.sink.sample(), context.sink.sink.stats()
    return Turn(
        contestant.name,
        delivered_per_s=round(stats.per_second, 1),
        accept_ms=cast(Summary, result["accept_ms"]),
        cpu_ms=spent | {"rest of the machine": round(rest, 3)},
        accepted=accepted,
        delivered=stats.recipients,
        duplicates=stats.duplicates,
        outcomes=cast(dict[str, int], result["outcomes"]),
        sampled=len(sample) if contestant.dns else 0,
        verified=count_valid(sample, contestant.dns) if contestant.dns else 0,
        load_mb=memory.snapshot(contestant.processes),
        peak_mb=memory.peaks(contestant.processes),
    )


def steady_accept(context: TurnContext, contestant: Contestant) -> Summary:
    """Accept latency at a fixed rate, from the time when each request was due."""
    scale = context.scale
    result = run(context, contestant, Load("steady", scale.rate_count, rate=scale.rate))
    return cast(Summary, result["accept_ms"])


def first_attempts(context: TurnContext, contestant: Contestant) -> Summary:
    """Time from the API response to the first RCPT at the sink, nearly idle."""
    scale = context.scale
    load = Load("idle", scale.idle_count, rate=scale.idle_rate, keep_times=True)
    accepted_at = cast(dict[str, float], run(context, contestant, load)["accepted_at"])
    attempted_at = context.sink.sink.attempted()
    waits = [
        max(0.0, attempted_at[recipient] - at)
        for recipient, at in accepted_at.items()
        if recipient in attempted_at
    ]
    return summary(waits)


def run(context: TurnContext, contestant: Contestant, load: Load) -> dict[str, Json]:
    """Reset the sink, run one load, and wait until all accepted messages have arrived."""
    context.sink.sink.reset()
    result: dict[str, Json] = {}
    process = spawn("bench.load", arguments(context, contestant, load))
    assert process.stdout is not None
    try:
        for line in process.stdout:
            result = json.loads(line)
            if "result" not in result:
                sent, delivered = int(str(result["sent"])), int(str(result["delivered"]))
                context.report_progress(
                    f"{contestant.name}: {load.phase}", delivered, max(sent, load.count)
                )
    finally:
        end(process)
    if "result" not in result:
        raise RuntimeError(f"the load on {contestant.name} failed, see its output above")
    drain(context, contestant, accepted=int(str(result["accepted"])))
    return result


def arguments(context: TurnContext, contestant: Contestant, load: Load) -> list[str]:
    options = {
        "port": contestant.port,
        "key": contestant.key,
        "connections": contestant.connections,
        "sites": len(context.sink.addresses),
        "count": load.count,
        "seconds": load.seconds,
        "rate": load.rate,
        "first-serial": next(context.serials),
        "backlog": 0 if load.rate or load.is_intake else context.scale.backlog,
        "sink-control": context.sink.sink.control,
    }
    flags = [f"--{name}={value}" for name, value in options.items() if value != ""]
    switches = {"--keep-times": load.keep_times, "--tls": contestant.tls}
    return [contestant.protocol, *flags, *(name for name, is_on in switches.items() if is_on)]


def drain(context: TurnContext, contestant: Contestant, *, accepted: int) -> None:
    """Wait until all messages have arrived, or until no more arrive."""
    sink, last, moved_at = context.sink.sink, -1, time.monotonic()
    while (received := int(str(sink.query("received")["messages"]))) < accepted:
        if received != last:
            last, moved_at = received, time.monotonic()
        elif time.monotonic() - moved_at > STALLED_AFTER_S:
            return
        context.report_progress(f"{contestant.name}: draining", received, accepted)
        time.sleep(POLL_S)
    time.sleep(LATE_COPIES_S)
