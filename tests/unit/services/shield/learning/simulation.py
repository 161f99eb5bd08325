"""Campaigns that send as fast as they may, and the complaints that come late."""

from heapq import heappop, heappush
from math import exp, log
from random import Random
from typing import NamedTuple

from services.shield.domain.learning.campaign import (
    HOUR_S,
    CampaignState,
    count,
    decide,
    evolve,
    start,
)
from services.shield.domain.learning.facts import AssessmentChange, OutcomeKind, allowed_at

INTERVAL_S = HOUR_S / 10_000  # between messages
DELAY_S, DELAY_SIGMA = 1.5 * HOUR_S, 0.95  # log-normal: 15 % later than four hours
BATCH = 20  # deliveries that are counted together, at most


class Run(NamedTuple):
    held: bool
    delivered: int
    hours: float


def run_campaign(
    seed: int, *, rate: float, size: int, prior: float = 0.0, trusted: bool = False
) -> Run:
    """rate: complaints per delivery. Ends when all are sent, when it is held, or when it waits for
    nothing."""
    random, now_s = Random(seed), 0.0
    event = start("c", "t", prior=prior, trusted=trusted, now_s=now_s)
    state = evolve(CampaignState("c", "t"), event)
    complaints: list[float] = []
    left = until_complaint(random, rate)
    while state.delivered < size and state.change is not AssessmentChange.HELD:
        allowed = allowed_at(event, now_s)
        room = BATCH if allowed is None else allowed - state.delivered
        sends_s = now_s if room > 0 else event.next_at_s
        if complaints and complaints[0] <= sends_s:
            now_s = max(now_s, heappop(complaints))
            state = count(state, OutcomeKind.COMPLAINED)
        else:
            sent = min(BATCH, max(room, 1), size - state.delivered, left)
            now_s, left = sends_s + sent * INTERVAL_S, left - sent
            state = count(state, OutcomeKind.DELIVERED, times=sent)
            if not left:
                heappush(complaints, now_s + DELAY_S * exp(random.gauss(0, DELAY_SIGMA)))
                left = until_complaint(random, rate)
        for event in decide(state, now_s):
            state = evolve(state, event)
    return Run(state.change is AssessmentChange.HELD, state.delivered, now_s / HOUR_S)


def until_complaint(random: Random, rate: float) -> int:
    """Deliveries up to one that leads to a complaint."""
    return 1 + int(log(1 - random.random()) / log(1 - rate))
