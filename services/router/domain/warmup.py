"""The warmup of an egress source, and of a source at a big site: an event-sourced aggregate.

`decide` compares the facts of the current day with the allowance and returns events; `evolve`
applies one; a state is the fold of its events. A source advances by the stages of its ramp when it
has used and delivered 90 % of the allowance, as at SparkPost. When receivers refuse it for its
reputation, it goes back to what they took, and for two weeks it grows more slowly than they have
let it; complaints and bounces cost a stage; after 30 days without mail it starts again, as at
SendGrid.

Refusals by a site that has an aggregate of its own concern that aggregate alone.
"""

from collections.abc import Iterable
from enum import StrEnum
from functools import reduce
from math import ceil
from typing import NamedTuple

from services.router.domain.ramps import Ramp

DAY_S = 86_400.0
IDLE_S = 30 * DAY_S
ADVANCE_SHARE = 0.9
STEEPEST_GROWTH = 2.5  # of SparkPost's stages
# At a site the allowance only bounds growth: below this share, tomorrow's mail fits in it even if
# the source advances by the steepest step.
ADVANCE_SHARE_AT_SITE = 1 / STEEPEST_GROWTH

CAREFUL_S = 14 * DAY_S  # after receivers have refused
CAREFUL_GROWTH = 1.4  # SendGrid's automated warmup: the smallest published factor
GROWTH_MIN, GROWTH_SHARE = 1.2, 0.8  # of what a receiver took more than the day before
GROWTH_STEP = 0.1  # more with each day that nobody refuses
PER_DAY_MIN = 20
REFUSED_MIN = 10  # refusals, below which their share means nothing
REFUSED_SHARE = 0.05
BLOCKED_SHARE = 0.5
COMPLAINT_SHARE = 0.003  # Gmail, sender guidelines: never 0.3 % or more
BOUNCE_SHARE = 0.1  # SES: sending may be paused at 10 %
RATED_MIN = 1000  # messages, below which shares of complaints and bounces mean nothing


class WarmupStatus(StrEnum):
    NEW = "new"
    RAMPING = "ramping"
    PAUSED = "paused"  # stays in its stage
    FINISHED = "finished"  # no limit


class WarmupChangeKind(StrEnum):
    STARTED = "started"
    ADVANCED = "advanced"
    HELD = "held"  # a day has ended in the same stage
    LOWERED = "lowered"
    DECAYED = "decayed"
    PAUSED = "paused"
    RESUMED = "resumed"
    FINISHED = "finished"


class WarmupChanged(NamedTuple):
    """site: "" means all sites. per_day: the new allowance. growth: the steepest daily growth for
    the next two weeks; 0: that of the ramp. used, delivered: in the day that the change ends."""

    egress_id: str
    site: str
    change: WarmupChangeKind
    at_s: float
    ramp: str
    stage: int
    per_day: int
    reason: str = ""
    used: int = 0
    delivered: int = 0
    growth: float = 0.0


class WarmupFacts(NamedTuple):
    """What happened since the day of the aggregate began. used: attempts that connected. refused:
    for reputation."""

    used: int = 0
    delivered: int = 0
    refused: int = 0
    bounced: int = 0
    complained: int = 0


class Warmup(NamedTuple):
    """stage: the last of the ramp that the allowance reaches. day_s: when the current day began; it
    begins with each new allowance, not at midnight. volume: the most that was delivered in one of
    the latest days; an older day counts a tenth less each day."""

    egress_id: str
    site: str = ""
    status: WarmupStatus = WarmupStatus.NEW
    ramp: str = ""
    stage: int = 0
    per_day: int = 0
    day_s: float = 0.0
    stage_s: float = 0.0
    lowered_s: float = float("-inf")
    growth: float = 0.0
    volume: int = 0
    last_used_s: float = 0.0
    held_because: str = ""


def evolve(state: Warmup, event: WarmupChanged) -> Warmup:
    if begins_day(event):
        state = state._replace(
            day_s=event.at_s,
            volume=max(event.delivered, state.volume * 9 // 10),
            last_used_s=event.at_s if event.used else state.last_used_s,
        )
    new_stage = event.stage != state.stage or event.change is WarmupChangeKind.STARTED
    return state._replace(
        status=next_status(state, event.change),
        ramp=event.ramp,
        stage=event.stage,
        per_day=event.per_day,
        stage_s=event.at_s if new_stage else state.stage_s,
        lowered_s=event.at_s if event.change is WarmupChangeKind.LOWERED else state.lowered_s,
        growth=event.growth,
        held_because=event.reason,
    )


def begins_day(event: WarmupChanged) -> bool:
    return event.change not in (WarmupChangeKind.PAUSED, WarmupChangeKind.RESUMED)


def next_status(state: Warmup, change: WarmupChangeKind) -> WarmupStatus:
    if change is WarmupChangeKind.FINISHED:
        return WarmupStatus.FINISHED
    if change is WarmupChangeKind.PAUSED:
        return WarmupStatus.PAUSED
    if change is WarmupChangeKind.HELD or (
        state.status is WarmupStatus.PAUSED and change is not WarmupChangeKind.RESUMED
    ):
        return state.status
    return WarmupStatus.RAMPING


def fold(egress_id: str, site: str, events: Iterable[WarmupChanged]) -> Warmup:
    return reduce(evolve, events, Warmup(egress_id, site))


def allowance(state: Warmup) -> int:
    """Messages per day; 0: no limit."""
    return 0 if state.status in (WarmupStatus.NEW, WarmupStatus.FINISHED) else state.per_day


def decide(state: Warmup, facts: WarmupFacts, *, ramp: Ramp, now_s: float) -> list[WarmupChanged]:
    """The events of now; at most one. Repeated with the same facts after it, there is none."""
    if state.status is WarmupStatus.NEW:
        return []
    if is_idle(state, facts, now_s):
        return [to_stage(state, WarmupChangeKind.DECAYED, now_s, stage=0, ramp=ramp, reason="idle")]
    if now_s - state.lowered_s >= DAY_S and (harm := find_harm(facts)):
        return [lower_after_harm(harm, state, facts, ramp=ramp, now_s=now_s)]
    if now_s - state.day_s < DAY_S:
        return []
    return [end_day(state, facts, ramp=ramp, now_s=now_s)]


def is_idle(state: Warmup, facts: WarmupFacts, now_s: float) -> bool:
    is_warm = state.stage > 0 or state.status is WarmupStatus.FINISHED
    return is_warm and not facts.used and now_s - max(state.last_used_s, state.stage_s) > IDLE_S


def find_harm(facts: WarmupFacts) -> str:
    if facts.refused >= max(REFUSED_MIN, BLOCKED_SHARE * facts.used):
        return "blocked"
    if facts.refused >= max(REFUSED_MIN, REFUSED_SHARE * facts.used):
        return "refused"
    if facts.delivered >= RATED_MIN and facts.complained >= COMPLAINT_SHARE * facts.delivered:
        return "complaints"
    if facts.used >= RATED_MIN and facts.bounced >= BOUNCE_SHARE * facts.used:
        return "bounces"
    return ""


def lower_after_harm(
    harm: str, state: Warmup, facts: WarmupFacts, *, ramp: Ramp, now_s: float
) -> WarmupChanged:
    """Back from the volume that there really was: a larger allowance meant nothing."""
    taken = max(state.volume, facts.delivered)
    if harm in ("complaints", "bounces"):
        stage = max(ramp.stage_within(taken) - 1, 0)
        lowered = to_stage(
            state, WarmupChangeKind.LOWERED, now_s, stage=stage, ramp=ramp, reason=harm
        )
        return lowered._replace(used=facts.used, delivered=facts.delivered)
    if state.status is not WarmupStatus.FINISHED:
        taken = min(taken, state.per_day)
    per_day = max(taken // 2 if harm == "blocked" else taken, PER_DAY_MIN)
    lowered = changed(state, WarmupChangeKind.LOWERED, now_s, reason=harm, facts=facts)
    return lowered._replace(
        stage=ramp.stage_within(per_day),
        per_day=per_day,
        growth=growth_after(harm, facts.delivered, state.volume),
    )


def growth_after(harm: str, delivered: int, volume: int) -> float:
    """What was delivered today before the refusals, over the best day before, is the growth that
    the receiver allows."""
    if harm == "blocked" or not volume:
        return CAREFUL_GROWTH
    observed = GROWTH_SHARE * delivered / volume
    return min(max(observed, GROWTH_MIN), GROWTH_SHARE * STEEPEST_GROWTH)


def end_day(state: Warmup, facts: WarmupFacts, *, ramp: Ramp, now_s: float) -> WarmupChanged:
    if state.status is not WarmupStatus.RAMPING:
        return changed(state, WarmupChangeKind.HELD, now_s, reason=state.status, facts=facts)
    if reason := why_held(state, facts):
        return changed(state, WarmupChangeKind.HELD, now_s, reason=reason, facts=facts)
    stage = ramp.stage_within(state.per_day) + 1
    if stage == len(ramp.stages):
        return changed(state, WarmupChangeKind.FINISHED, now_s, facts=facts)
    per_day, growth = grow(state, ramp, now_s)
    advanced = changed(state, WarmupChangeKind.ADVANCED, now_s, facts=facts)
    return advanced._replace(stage=ramp.stage_within(per_day), per_day=per_day, growth=growth)


def grow(state: Warmup, ramp: Ramp, now_s: float) -> tuple[int, float]:
    """The next allowance, and the growth after it. The ramp decides alone from one of its stages;
    between them, no step is steeper than the published ones."""
    if state.growth and now_s - state.lowered_s < CAREFUL_S:
        growth = min(state.growth + GROWTH_STEP, GROWTH_SHARE * STEEPEST_GROWTH)
        return ceil(state.per_day * state.growth), growth
    next_stage = ramp.per_day(ramp.stage_within(state.per_day) + 1)
    if state.per_day == ramp.per_day(state.stage):
        return next_stage, 0.0
    return min(ceil(state.per_day * STEEPEST_GROWTH), next_stage), 0.0


def why_held(state: Warmup, facts: WarmupFacts) -> str:
    """Why the allowance does not grow; "" if it does."""
    share = ADVANCE_SHARE_AT_SITE if state.site else ADVANCE_SHARE
    if facts.used < share * state.per_day:
        return "not_used"
    if facts.delivered < max(share * state.per_day, ADVANCE_SHARE * facts.used):
        return "not_delivered"
    return ""


NOTHING = WarmupFacts()


def changed(
    state: Warmup,
    change: WarmupChangeKind,
    now_s: float,
    *,
    reason: str = "",
    facts: WarmupFacts = NOTHING,
) -> WarmupChanged:
    """An event that leaves the allowance as it is."""
    return WarmupChanged(
        state.egress_id,
        state.site,
        change,
        now_s,
        state.ramp,
        state.stage,
        state.per_day,
        reason,
        facts.used,
        facts.delivered,
        state.growth,
    )


def to_stage(
    state: Warmup, change: WarmupChangeKind, now_s: float, *, stage: int, ramp: Ramp, reason: str
) -> WarmupChanged:
    event = changed(state, change, now_s, reason=reason)
    return event._replace(stage=stage, per_day=ramp.per_day(stage), growth=0.0)


# What an operator commands. Each returns its event, or raises ValueError with the reason.


def start(egress_id: str, site: str, *, ramp: Ramp, now_s: float) -> WarmupChanged:
    return WarmupChanged(
        egress_id, site, WarmupChangeKind.STARTED, now_s, ramp.name, 0, ramp.per_day(0)
    )


def pause(state: Warmup, now_s: float) -> WarmupChanged:
    require(state, WarmupStatus.RAMPING)
    return changed(state, WarmupChangeKind.PAUSED, now_s, reason="operator")


def resume(state: Warmup, now_s: float) -> WarmupChanged:
    require(state, WarmupStatus.PAUSED)
    return changed(state, WarmupChangeKind.RESUMED, now_s)


def lower(state: Warmup, stage: int, *, ramp: Ramp, now_s: float) -> WarmupChanged:
    require(state, WarmupStatus.RAMPING, WarmupStatus.PAUSED, WarmupStatus.FINISHED)
    if stage < 0 or (stage >= state.stage and state.status is not WarmupStatus.FINISHED):
        raise ValueError("the stage is not lower than the present one. A ramp never skips stages.")
    return to_stage(
        state, WarmupChangeKind.LOWERED, now_s, stage=stage, ramp=ramp, reason="operator"
    )


def finish(state: Warmup, now_s: float) -> WarmupChanged:
    require(state, WarmupStatus.RAMPING, WarmupStatus.PAUSED)
    return changed(state, WarmupChangeKind.FINISHED, now_s, reason="operator")


def require(state: Warmup, *statuses: WarmupStatus) -> None:
    if state.status not in statuses:
        raise ValueError(f"the warmup is {state.status}. It must be {' or '.join(statuses)}.")
