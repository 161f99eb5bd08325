"""How many complaints stop a campaign, and how fast one may go that has none."""

from dataclasses import replace
from math import log

import pytest

from services.shield.domain.learning.campaign import (
    FIRST_STEP,
    FIRST_STEP_TRUSTED,
    FLOOR,
    HOUR_S,
    MILLION,
    CampaignRamp,
    CampaignState,
    close,
    count,
    decide,
    evolve,
    review,
    start,
)
from services.shield.domain.learning.facts import (
    AssessmentChange,
    CampaignAssessed,
    OutcomeKind,
    allowed_at,
)
from tests.unit.services.shield.learning.simulation import Run, run_campaign

SEEDS = range(200)


def started(*, prior: float = 0.0, trusted: bool = False) -> CampaignState:
    event = start("c", "t", prior=prior, trusted=trusted, now_s=0.0)
    return evolve(CampaignState("c", "t"), event)


def after(
    state: CampaignState, *outcomes: OutcomeKind, delivered: int = 0, now_s: float = 0.0
) -> CampaignState:
    for kind in [OutcomeKind.DELIVERED] * delivered + list(outcomes):
        state = count(state, kind)
        for event in decide(state, now_s):
            state = evolve(state, event)
    return state


def latest(state: CampaignState, now_s: float) -> CampaignAssessed:
    [event] = decide(state, now_s)
    return event


def test_a_campaign_with_many_complaints_is_held_early() -> None:
    runs = [run_campaign(seed, rate=0.005, size=5_001) for seed in SEEDS]
    held = [each for each in runs if each.held]
    assert len(held) >= 0.95 * len(runs)
    assert max(each.delivered for each in held) <= 5_000


def test_a_campaign_with_usual_complaints_is_not_held() -> None:
    runs = [run_campaign(seed, rate=0.001, size=5_001) for seed in SEEDS]
    assert sum(each.held for each in runs) <= 0.01 * len(runs)


def test_a_large_good_campaign_takes_a_day() -> None:
    """24 hours of waiting, and ten in which 100,000 messages are sent at this rate."""
    run = run_campaign(0, rate=0.0003, size=100_000)
    assert run == Run(held=False, delivered=100_000, hours=run.hours)
    assert 24 <= run.hours <= 34


def test_a_trusted_tenant_waits_less() -> None:
    run = run_campaign(0, rate=0.0003, size=100_000, prior=-3.0, trusted=True)
    assert (run.delivered, run.held) == (100_000, False)
    assert run.hours <= 26


@pytest.mark.parametrize(("trusted", "allowed"), [(False, FIRST_STEP), (True, FIRST_STEP_TRUSTED)])
def test_an_unknown_campaign_has_a_first_step(trusted: bool, allowed: int) -> None:
    event = start("c", "t", prior=0.0, trusted=trusted, now_s=5.0)
    assert allowed_at(event, 1e9) == allowed


def test_an_operator_sets_the_pace() -> None:
    ramp = CampaignRamp.of(50, HOUR_S)
    event = start("c", "t", prior=2.0, trusted=False, now_s=0.0, ramp=ramp)
    assert allowed_at(event, 1e9) == 50
    trusted = start("c", "t", prior=0.0, trusted=True, now_s=0.0, ramp=ramp)
    assert allowed_at(trusted, 1e9) == 250
    state = count(evolve(CampaignState("c", "t"), event), OutcomeKind.DELIVERED, times=25)
    [event] = decide(state, 9.0, ramp)
    assert (event.next_allowed, event.next_at_s) == (75, 9.0 + HOUR_S)


def test_the_next_step_needs_no_other_event_when_four_hours_have_passed() -> None:
    state = after(started(), delivered=999)
    state = count(state, OutcomeKind.DELIVERED)
    event = latest(state, 100.0)
    due_s = 100.0 + 4 * HOUR_S
    assert [allowed_at(event, at) for at in (due_s - 1, due_s)] == [2_000, 4_000]


def test_a_campaign_in_doubt_grows_slowly() -> None:
    state = after(started(prior=2.0), delivered=1_000)
    assert (state.next_allowed, state.next_at_s) == (3_000, 4 * HOUR_S)


def test_complaints_during_the_wait_make_the_next_step_smaller() -> None:
    state = after(started(), delivered=1_000)
    assert state.next_allowed == 4_000
    state = after(state, OutcomeKind.COMPLAINED, OutcomeKind.COMPLAINED, now_s=HOUR_S)
    assert (state.next_allowed, state.next_at_s) == (3_000, 4 * HOUR_S)


def test_mail_that_trickles_never_waits() -> None:
    """A receipt a minute: half of each step is older than the wait when the step is used up."""
    state = started()
    for number in range(30_000):
        event = start("c", "t", prior=0, trusted=False, now_s=0)
        event = replace(
            event, allowed=state.allowed, next_allowed=state.next_allowed, next_at_s=state.next_at_s
        )
        allowed = allowed_at(event, 60.0 * number)
        assert allowed is None or state.delivered < allowed
        state = after(state, delivered=1, now_s=60.0 * number)


def test_good_mail_is_released_when_complaints_have_had_time() -> None:
    state = after(started(), delivered=1_500, now_s=0.0)
    assert state.change is AssessmentChange.PACED
    state = after(state, delivered=1, now_s=4 * HOUR_S)
    assert state.change is AssessmentChange.RELEASED


def test_what_was_released_can_still_be_held() -> None:
    state = after(started(), delivered=1_500)
    state = after(state, delivered=1, now_s=4 * HOUR_S)
    state = after(state, *[OutcomeKind.COMPLAINED] * 9, now_s=5 * HOUR_S)
    assert state.change is AssessmentChange.HELD


def test_a_long_good_past_allows_no_abuse() -> None:
    state = after(started(), delivered=20_000)
    state = after(state, delivered=1, now_s=4 * HOUR_S)
    assert state.evidence == FLOOR
    assert after(state, *[OutcomeKind.COMPLAINED] * 12).change is AssessmentChange.HELD


def test_what_is_held_is_no_evidence() -> None:
    state = after(started(), *[OutcomeKind.COMPLAINED] * 4)
    assert state.change is AssessmentChange.HELD
    assert after(state, OutcomeKind.DELIVERED, OutcomeKind.COMPLAINED, delivered=5_000) == state


def test_a_held_campaign_may_not_send() -> None:
    state = count(count(started(prior=4.0), OutcomeKind.COMPLAINED), OutcomeKind.COMPLAINED)
    event = latest(state, 7.0)
    assert (event.change, event.reviewed, allowed_at(event, 1e12)) == (
        AssessmentChange.HELD,
        False,
        0,
    )
    assert event.evidence == pytest.approx(4 + 2 * log(4), abs=1e-5)


def test_blocks_count_half_and_unsubscribes_little() -> None:
    state = after(started(), OutcomeKind.SPAM_BLOCKED, *[OutcomeKind.UNSUBSCRIBED] * 4)
    assert state.evidence / MILLION == pytest.approx(0.7 * log(4), abs=1e-5)


def test_unsubscribes_count_at_most_as_much_as_complaints() -> None:
    many = [OutcomeKind.UNSUBSCRIBED] * 1_000
    assert after(started(), *many).evidence == 0
    state = after(started(), OutcomeKind.COMPLAINED, *many)
    assert state.evidence / MILLION == pytest.approx(2 * log(4), abs=1e-4)


def test_a_bounce_takes_its_delivery_back() -> None:
    state = after(started(), OutcomeKind.BOUNCED, delivered=10)
    assert (state.delivered, state.evidence) == (9, -27_000)
    assert after(started(), OutcomeKind.BOUNCED).delivered == 0


def test_a_complaint_that_counts_less_is_less_evidence() -> None:
    state = count(started(), OutcomeKind.COMPLAINED, 100)
    assert state.evidence / MILLION == pytest.approx(0.1 * log(4), abs=1e-5)


def test_a_reviewer_releases_and_what_follows_may_hold_again() -> None:
    held = after(started(), *[OutcomeKind.COMPLAINED] * 4)
    event = review(held, good=True, now_s=9.0)
    state = evolve(held, event)
    assert (event.change, event.reviewed, allowed_at(event, 9.0)) == (
        AssessmentChange.RELEASED,
        True,
        None,
    )
    assert after(state, *[OutcomeKind.COMPLAINED] * 5).change is AssessmentChange.RELEASED
    assert after(state, *[OutcomeKind.COMPLAINED] * 6).change is AssessmentChange.HELD


def test_a_reviewer_rejects() -> None:
    event = review(started(), good=False, now_s=9.0)
    assert (event.change, event.reviewed) == (AssessmentChange.HELD, True)


def test_a_small_campaign_without_complaints_ends_as_good() -> None:
    [event] = close(after(started(prior=-2.0), delivered=400), 9.0)
    assert event.change is AssessmentChange.RELEASED
    assert close(after(started(), delivered=400), 9.0) == []
    assert close(after(started(), *[OutcomeKind.COMPLAINED] * 4), 9.0) == []


def test_an_event_is_decided_once() -> None:
    state = after(started(), delivered=1_000)
    assert decide(state, 0.0) == decide(state, 4 * HOUR_S - 1) == []
