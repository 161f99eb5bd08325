"""The warmup of one egress source: advance, hold, go back, decay, and what an operator commands."""

from importlib.resources import files
from itertools import pairwise
from math import ceil

import pytest

from services.router.domain import warmup
from services.router.domain.ramps import Ramp, lint_ramps, parse_ramps
from services.router.domain.warmup import (
    DAY_S,
    Warmup,
    WarmupChanged,
    WarmupChangeKind,
    WarmupFacts,
    WarmupStatus,
)

RAMP = Ramp("test", "day", (200, 500, 1_000, 2_000), "the test")
RAMPS = parse_ramps((files("services.router") / "ramps.toml").read_text("utf-8"))


def at_stage(stage: int, *, site: str = "", at_s: float = 0.0, volume: int = 0) -> Warmup:
    event = WarmupChanged(
        "ip", site, WarmupChangeKind.STARTED, at_s, "test", stage, RAMP.per_day(stage)
    )
    return warmup.evolve(Warmup("ip", site), event._replace(used=volume, delivered=volume))


def decide(state: Warmup, facts: WarmupFacts, *, now_s: float = DAY_S) -> WarmupChanged | None:
    events = warmup.decide(state, facts, ramp=RAMP, now_s=now_s)
    assert len(events) <= 1
    return events[0] if events else None


def used(number: int, **others: int) -> WarmupFacts:
    return WarmupFacts(used=number, delivered=others.pop("delivered", number), **others)


def test_a_source_advances_when_nine_tenths_were_used_and_delivered() -> None:
    event = decide(at_stage(0), used(180))
    assert event
    assert (event.change, event.stage, event.per_day) == (WarmupChangeKind.ADVANCED, 1, 500)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [(used(179), "not_used"), (used(200, delivered=170), "not_delivered")],
)
def test_a_source_stays_in_its_stage_with_a_reason(facts: WarmupFacts, reason: str) -> None:
    event = decide(at_stage(0), facts)
    assert event
    assert (event.change, event.stage, event.reason) == (WarmupChangeKind.HELD, 0, reason)
    assert warmup.evolve(at_stage(0), event).held_because == reason


def test_a_stage_lasts_a_day_from_its_own_beginning() -> None:
    state = at_stage(0, at_s=1000.0)
    assert decide(state, used(200), now_s=DAY_S) is None
    assert decide(state, used(200), now_s=DAY_S + 1000.0) is not None


def test_a_source_that_some_refuse_goes_back_to_what_was_taken() -> None:
    facts = used(600, delivered=550, refused=50)
    event = decide(at_stage(2, volume=500), facts, now_s=3600.0)
    assert event
    assert (event.change, event.reason, event.per_day) == (WarmupChangeKind.LOWERED, "refused", 550)


def test_a_source_that_is_blocked_goes_back_to_half() -> None:
    facts = used(60, delivered=0, refused=60)
    event = decide(at_stage(3, volume=1_800), facts, now_s=3600.0)
    assert event
    assert (event.change, event.reason, event.per_day) == (WarmupChangeKind.LOWERED, "blocked", 900)


@pytest.mark.parametrize(
    "volume", [400, 250, 100, 600], ids=["1.25 taken", "2 taken", "5 taken", "less taken"]
)
def test_after_a_refusal_the_allowance_grows_more_slowly_than_was_taken(volume: int) -> None:
    state = at_stage(2, volume=volume)
    facts = used(600, delivered=500, refused=100)
    lowered = decide(state, facts, now_s=3600.0)
    assert lowered
    state = warmup.evolve(state, lowered)
    event = decide(state, used(600), now_s=3600.0 + DAY_S)
    assert event
    assert event.change is WarmupChangeKind.ADVANCED
    growth = min(max(0.8 * 500 / volume, 1.2), 2.0)
    assert event.per_day == ceil(state.per_day * growth)
    assert event.growth == min(growth + 0.1, 2.0)


def test_a_few_refusals_change_nothing() -> None:
    assert decide(at_stage(2), used(20, delivered=11, refused=9), now_s=60.0) is None
    assert decide(at_stage(2), used(900, delivered=880, refused=20), now_s=60.0) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [(used(1_500, complained=5), "complaints"), (used(1_500, bounced=150), "bounces")],
)
def test_complaints_and_bounces_cost_a_stage(facts: WarmupFacts, reason: str) -> None:
    event = decide(at_stage(3), facts, now_s=3600.0)
    assert event
    assert (event.change, event.stage, event.reason) == (WarmupChangeKind.LOWERED, 1, reason)


def test_a_source_goes_back_once_a_day_at_most() -> None:
    state, blocked = at_stage(3, volume=1_800), used(60, delivered=0, refused=60)
    event = decide(state, blocked, now_s=3600.0)
    assert event
    state = warmup.evolve(state, event)
    assert decide(state, blocked, now_s=7200.0) is None
    assert decide(state, blocked, now_s=3600.0 + DAY_S) is not None


def test_a_finished_source_has_no_limit_until_it_is_blocked() -> None:
    state = at_stage(3, volume=9_000)
    event = decide(state, used(2_000, delivered=9_000))
    assert event
    assert event.change is WarmupChangeKind.FINISHED
    state = warmup.evolve(state, event)
    assert warmup.allowance(state) == 0
    event = decide(state, used(30, delivered=0, refused=30), now_s=2 * DAY_S)
    assert event
    state = warmup.evolve(state, event)
    assert (state.status, warmup.allowance(state)) == (WarmupStatus.RAMPING, 4_500)


def test_a_source_that_was_idle_for_a_month_starts_again() -> None:
    state = at_stage(3, volume=2_000)
    held = decide(state, WarmupFacts(), now_s=30 * DAY_S)
    assert held
    assert held.change is WarmupChangeKind.HELD
    state = warmup.evolve(state, held)
    event = decide(state, WarmupFacts(), now_s=30 * DAY_S + 1)
    assert event
    assert (event.change, event.per_day) == (WarmupChangeKind.DECAYED, 200)
    assert decide(state, used(1), now_s=30 * DAY_S + 1) is None


def test_at_a_site_less_use_is_enough_to_advance() -> None:
    event = decide(at_stage(1, site="google"), used(200))
    assert event
    assert event.change is WarmupChangeKind.ADVANCED


def test_a_paused_warmup_keeps_its_allowance_and_resumes() -> None:
    state = at_stage(1)
    state = warmup.evolve(state, warmup.pause(state, 10.0))
    held = decide(state, used(500))
    assert held
    assert held.change is WarmupChangeKind.HELD
    assert warmup.allowance(state) == 500
    state = warmup.evolve(state, warmup.resume(state, 20.0))
    assert state.status is WarmupStatus.RAMPING


def test_an_operator_may_lower_a_stage_and_never_skip_one() -> None:
    state = at_stage(2)
    state = warmup.evolve(state, warmup.lower(state, 0, ramp=RAMP, now_s=5.0))
    assert warmup.allowance(state) == 200
    with pytest.raises(ValueError, match="never skips"):
        warmup.lower(state, 1, ramp=RAMP, now_s=6.0)
    state = warmup.evolve(state, warmup.finish(state, 7.0))
    with pytest.raises(ValueError, match="the warmup is finished"):
        warmup.pause(state, 8.0)


def test_the_shipped_ramps_have_sources_and_the_published_figures() -> None:
    assert RAMPS["sendgrid"].per_day(0) == 480
    assert RAMPS["sparkpost"].stages[6] == 20_000
    assert len(RAMPS["sparkpost"].stages) == 29
    assert all(ramp.source for ramp in RAMPS.values())


def test_the_default_ramp_reaches_every_volume_no_later_than_sparkposts() -> None:
    ours, theirs = RAMPS["default"].stages, RAMPS["sparkpost"].stages
    assert all(mine >= other for mine, other in zip(ours, theirs, strict=False))
    steps = [later / earlier for earlier, later in pairwise(ours)]
    assert max(steps) <= 2.5


def test_the_linter_reports_a_ramp_that_falls_or_has_no_source() -> None:
    problems = "\n".join(lint_ramps([Ramp("a", "week", (5, 4), ""), Ramp("a", "day", (), "x")]))
    for part in ("hour or day", "more than the one before", "`source`", "taken", "positive"):
        assert part in problems
