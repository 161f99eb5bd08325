"""What a run amounts to, and all runs of a sender together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bench.printing import console, print_table
from bench.simulation.parameters import DAY_S
from bench.simulation.run import History, Setting
from bench.simulation.senders.catalog import ramps

BIG_SHARE = 0.1
BLOCKED_S = DAY_S
FULL_SHARE = 0.95
RECOVERED_SHARE = 0.8
DAYS_TO_RECOVER = 14


class Outcome(NamedTuple):
    """One run. full_volume_day: the first day, counted from 1, on which the new sources delivered
    95 % of what was to be sent; a day after the last if there was none."""

    blocked: bool
    refused_share: float
    full_volume_day: int
    blocks: int
    recovered: int
    limit_violations: int
    delivered_share: float


def outcome_of(history: History) -> Outcome:
    days = range(len(history.delivered))
    full = (
        day + 1 for day in days if history.delivered_on(day) >= FULL_SHARE * history.demand[day]
    )
    recoveries = list(recoveries_of(history))
    delivered = sum(history.delivered_on(day) for day in days)
    return Outcome(
        blocked=is_blocked(history),
        refused_share=history.refused / max(history.attempted, 1),
        full_volume_day=next(full, len(history.delivered) + 1),
        blocks=len(recoveries),
        recovered=sum(recoveries),
        limit_violations=history.violations,
        delivered_share=delivered / sum(history.demand),
    )


def is_blocked(history: History) -> bool:
    """Whether a big receiver refused a source for a day or more, by its sender's own doing."""
    return any(
        block.own_doing and block.ends_s - block.begins_s >= BLOCKED_S
        for cell, blocks in history.blocks.items()
        if history.shares[cell.site] >= BIG_SHARE
        for block in blocks
    )


def recoveries_of(history: History) -> Iterable[bool]:
    """Of each block of a source at a receiver: whether it later carried its full part of what was
    to be sent there. Blocks that begin near the end do not count."""
    for cell, blocks in history.blocks.items():
        part = RECOVERED_SHARE * history.shares[cell.site] / history.setting.ips
        is_full = [
            day[cell.ip][cell.site] >= part * demand
            for day, demand in zip(history.delivered, history.demand, strict=True)
        ]
        for block in blocks:
            if int(block.begins_s // DAY_S) + DAYS_TO_RECOVER <= len(is_full):
                yield any(is_full[int(block.ends_s // DAY_S) + 1 :])


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def summarize(outcomes: Sequence[Outcome]) -> dict[str, float]:
    blocks = sum(outcome.blocks for outcome in outcomes)
    return {
        "blocked_share": sum(outcome.blocked for outcome in outcomes) / len(outcomes),
        "refused_share_p95": percentile([outcome.refused_share for outcome in outcomes], 0.95),
        "full_volume_days_p50": percentile([o.full_volume_day for o in outcomes], 0.5),
        "full_volume_days_p95": percentile([o.full_volume_day for o in outcomes], 0.95),
        "recovered_share": sum(o.recovered for o in outcomes) / blocks if blocks else 1.0,
        "blocks": blocks,
        "limit_violations": sum(outcome.limit_violations for outcome in outcomes),
        "delivered_share_p50": percentile([o.delivered_share for o in outcomes], 0.5),
    }


def summarize_all(outcomes: Sequence[dict[str, Outcome]], setting: Setting) -> dict[str, Any]:
    """sparkpost_days: when SparkPost's published ramp reaches the volume, if nothing holds it."""
    senders = {name: summarize([each[name] for each in outcomes]) for name in outcomes[0]}
    per_source = setting.volume / setting.ips
    stages = ramps()["sparkpost"].stages
    reached = next((day for day, stage in enumerate(stages, 1) if stage >= per_source), len(stages))
    return {
        "seeds": len(outcomes),
        "days": setting.days,
        "messages_per_day": setting.volume,
        "sources": setting.ips,
        "sparkpost_days": reached,
        **senders,
    }


COLUMNS = ("", "blocked", "refused p95", "full p50", "full p95", "recovered", "exceeded")


def print_summary(figures: Mapping[str, Any]) -> None:
    rows = [row_of(name, each) for name, each in figures.items() if isinstance(each, dict)]
    days = figures["days"]
    title = (
        f"Worlds: {figures['seeds']}, of {days} days; new sources: {figures['sources']}, for "
        f"{figures['messages_per_day']:,} messages a day. SparkPost's table reaches this volume on "
        f"day {figures['sparkpost_days']}."
    )
    print_table(console, title, columns=COLUMNS, rows=rows)


def row_of(name: str, figures: Mapping[str, float]) -> list[str]:
    return [
        name,
        f"{figures['blocked_share']:.0%}",
        f"{figures['refused_share_p95']:.3%}",
        f"day {figures['full_volume_days_p50']:.0f}",
        f"day {figures['full_volume_days_p95']:.0f}",
        f"{figures['recovered_share']:.1%} of {figures['blocks']:,.0f}",
        f"{figures['limit_violations']:.0f}",
    ]
