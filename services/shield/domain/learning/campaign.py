"""A campaign, which is all mail of a tenant with one fingerprint: an event-sourced aggregate.

`count` adds an outcome, `decide` compares the evidence with the bounds and returns events; `evolve`
applies one. The evidence is a sequential probability ratio test (Wald 1945) of two complaint rates:
0.4 % is abuse, 0.1 % is good mail.

    evidence = prior + complaints * ln(0.4 % / 0.1 %) - delivered * (0.4 % - 0.1 %)

Complaints come late, so a campaign has an allowance, which grows when four hours have passed since
half of its latest step was used. Integers, so that a replay gives the same: evidence in millionths,
complaints in thousandths.
"""

from math import log
from typing import NamedTuple

from services.shield.domain.learning.facts import (
    UNLIMITED,
    AssessmentChange,
    CampaignAssessed,
    OutcomeKind,
)

HOUR_S = 3_600.0
MILLION, THOUSAND = 1_000_000, 1_000
COMPLAINT = round(MILLION * log(4))  # for each of them
DELIVERY = 3_000  # millionths: 0.4 % - 0.1 %
HOLD = round(MILLION * log(200))
RELEASE, DOUBLING = -3 * MILLION, -1 * MILLION
FLOOR = -10 * MILLION  # after each step, so that a campaign cannot save up for later

FIRST_STEP, FIRST_STEP_TRUSTED, STEP_IN_DOUBT = 2_000, 10_000, 1_000
WAIT_S = 4 * HOUR_S

# Thousandths of a complaint. The soft ones count at most as much as the others.
WEIGHTS = {OutcomeKind.COMPLAINED: 1_000, OutcomeKind.SPAM_BLOCKED: 500}
SOFT_WEIGHTS = {OutcomeKind.UNSUBSCRIBED: 50}


class CampaignRamp(NamedTuple):
    """Deliveries in the first step, and in further ones while there is doubt; and the wait for
    complaints before the next step."""

    first: int = FIRST_STEP
    first_trusted: int = FIRST_STEP_TRUSTED
    in_doubt: int = STEP_IN_DOUBT
    wait_s: float = WAIT_S

    @classmethod
    def of(cls, first: int, wait_s: float) -> "CampaignRamp":
        """In the usual proportions."""
        return cls(first, 5 * first, max(1, first // 2), wait_s)


RAMP = CampaignRamp()


class CampaignState(NamedTuple):
    """evidence: in millionths. complaints, unsubscribed: in thousandths. half_step: the number of
    deliveries from which the next step can be planned. The rest as in CampaignAssessed."""

    campaign_id: str
    tenant_id: str
    change: AssessmentChange = AssessmentChange.STARTED
    delivered: int = 0
    complaints: int = 0
    unsubscribed: int = 0
    evidence: int = 0
    allowed: int = 0
    half_step: int = 0
    next_allowed: int = 0
    next_at_s: float = 0.0


def start(
    campaign_id: str,
    tenant_id: str,
    *,
    prior: float,
    trusted: bool,
    now_s: float,
    ramp: CampaignRamp = RAMP,
) -> CampaignAssessed:
    """prior: log odds. trusted: the tenant has sent much good mail."""
    return CampaignAssessed(
        campaign_id=campaign_id,
        tenant_id=tenant_id,
        change=AssessmentChange.STARTED,
        at_s=now_s,
        delivered=0,
        complaints=0.0,
        evidence=prior,
        allowed=ramp.first_trusted if trusted else ramp.first,
    )


def count(
    state: CampaignState, kind: OutcomeKind, weight: int = THOUSAND, *, times: int = 1
) -> CampaignState:
    """Add outcomes of one kind. weight: thousandths of each report that count. What is held is no
    evidence: its silence says nothing."""
    if state.change is AssessmentChange.HELD:
        return state
    if kind in (OutcomeKind.DELIVERED, OutcomeKind.BOUNCED):
        sent = times if kind is OutcomeKind.DELIVERED else -min(times, state.delivered)
        return state._replace(
            delivered=state.delivered + sent, evidence=state.evidence - sent * DELIVERY
        )
    before, reported = weighed_complaints(state), times * weight
    state = state._replace(
        complaints=state.complaints + WEIGHTS.get(kind, 0) * reported // THOUSAND,
        unsubscribed=state.unsubscribed + SOFT_WEIGHTS.get(kind, 0) * reported // THOUSAND,
    )
    gained = (weighed_complaints(state) - before) * COMPLAINT // THOUSAND
    return state._replace(evidence=state.evidence + gained)


def weighed_complaints(state: CampaignState) -> int:
    return state.complaints + min(state.unsubscribed, state.complaints)


def unsubscribes_of(state: CampaignState) -> float:
    """How many there were, each as its reporter was weighed."""
    return state.unsubscribed / SOFT_WEIGHTS[OutcomeKind.UNSUBSCRIBED]


def evolve(state: CampaignState, event: CampaignAssessed) -> CampaignState:
    if event.allowed != state.allowed:
        state = state._replace(half_step=(state.allowed + event.allowed) // 2)
    return state._replace(
        change=event.change,
        evidence=round(event.evidence * MILLION),
        allowed=event.allowed,
        next_allowed=event.next_allowed,
        next_at_s=event.next_at_s,
    )


def decide(state: CampaignState, now_s: float, ramp: CampaignRamp = RAMP) -> list[CampaignAssessed]:
    """The events of now; at most one. Repeated with the same facts after it, there is none, but for
    the next step when its time has come."""
    if state.change is AssessmentChange.HELD:
        return []
    if state.evidence >= HOLD:
        return [assessed(state, AssessmentChange.HELD, now_s)]
    planned = step_after(state, ramp)
    if state.next_at_s:
        if now_s >= state.next_at_s:
            return [grow(state, now_s)]
        if planned != state.next_allowed:
            return [plan(state, planned, now_s=now_s, at_s=state.next_at_s)]
    elif state.delivered >= state.half_step:
        return [plan(state, planned, now_s=now_s, at_s=now_s + ramp.wait_s)]
    return []


def step_after(state: CampaignState, ramp: CampaignRamp) -> int:
    """The allowance after the current one."""
    if state.evidence >= DOUBLING:
        return state.allowed + ramp.in_doubt
    return 2 * state.allowed


def plan(state: CampaignState, planned: int, *, now_s: float, at_s: float) -> CampaignAssessed:
    return assessed(
        state._replace(next_allowed=planned, next_at_s=at_s), pace_or_release(state), now_s
    )


def grow(state: CampaignState, now_s: float) -> CampaignAssessed:
    """The planned allowance is in force. Complaints have had time to come, so this is when a
    campaign can prove good."""
    change = AssessmentChange.RELEASED if state.evidence <= RELEASE else pace_or_release(state)
    grown = state._replace(
        evidence=max(FLOOR, state.evidence),
        allowed=state.next_allowed,
        next_allowed=0,
        next_at_s=0.0,
    )
    return assessed(grown, change, now_s)


def pace_or_release(state: CampaignState) -> AssessmentChange:
    return (
        AssessmentChange.RELEASED
        if state.change is AssessmentChange.RELEASED
        else AssessmentChange.PACED
    )


def review(state: CampaignState, *, good: bool, now_s: float) -> CampaignAssessed:
    """A person has looked at held mail. What is released starts as good mail, and can be held again
    by what follows."""
    if not good:
        return assessed(state, AssessmentChange.HELD, now_s, reviewed=True)
    fresh = state._replace(
        evidence=min(RELEASE, state.evidence),
        allowed=max(UNLIMITED, state.allowed),
        next_allowed=0,
        next_at_s=0.0,
    )
    return assessed(fresh, AssessmentChange.RELEASED, now_s, reviewed=True)


def close(state: CampaignState, now_s: float) -> list[CampaignAssessed]:
    """The last event of a campaign that has ended: good mail whose steps were never used up."""
    if (
        state.change in (AssessmentChange.STARTED, AssessmentChange.PACED)
        and state.evidence <= RELEASE
    ):
        return [assessed(state, AssessmentChange.RELEASED, now_s)]
    return []


def assessed(
    state: CampaignState, change: AssessmentChange, now_s: float, *, reviewed: bool = False
) -> CampaignAssessed:
    grows = change is not AssessmentChange.HELD
    return CampaignAssessed(
        campaign_id=state.campaign_id,
        tenant_id=state.tenant_id,
        change=change,
        at_s=now_s,
        delivered=state.delivered,
        complaints=weighed_complaints(state) / THOUSAND,
        evidence=state.evidence / MILLION,
        allowed=state.allowed,
        next_allowed=state.next_allowed if grows else 0,
        next_at_s=state.next_at_s if grows else 0.0,
        reviewed=reviewed,
    )
