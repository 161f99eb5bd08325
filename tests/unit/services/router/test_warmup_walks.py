"""Random walks: a source in warmup never sends more than its allowance, counted by brute force,
whoever is the scheduler."""

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED, ATTEMPT_OUTCOME_TEMPORARY
from contracts.router.v1.policies_pb2 import PolicyCommand, WarmupCommand
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import Limits
from services.router.domain.policies import egress_site_scope
from services.router.domain.policy_engine import COUNTS_INTERVAL_S, AdaptivePolicyRules
from services.router.domain.ramps import Ramp
from services.router.domain.shaping import SiteLimits
from tests.support.memory_cell import NOW_S, MemoryCell, due_message, memory_cell

RAMP = Ramp("test", "day", (20, 50, 100), "the test")
RULES = AdaptivePolicyRules(ramps={"test": RAMP}, big_sites=("google",))
SITES = ("google", "a.example")
HOUR_S, DAY_S = 3600.0, 86_400.0


class Step(NamedTuple):
    passed_s: float
    messages: int
    site: str
    is_refused: bool
    is_new_scheduler: bool


class Sent(NamedTuple):
    """A message, and the limits that were in force."""

    at_s: float
    limits: Limits


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from([1.0, 30.0, 600.0, 3000.0, 3700.0, 20_000.0, 90_000.0]),
        st.integers(0, 40),
        st.sampled_from(SITES),
        st.booleans(),
        st.booleans(),
    ),
    max_size=20,
)
SCOPES = (LimitScope(ScopeKind.WARMUP, "e1"), *(egress_site_scope("e1", site) for site in SITES))


def walk(cell: MemoryCell, walked: Sequence[Step]) -> dict[LimitScope, list[Sent]]:
    sent: dict[LimitScope, list[Sent]] = {scope: [] for scope in SCOPES}
    now_s, number = NOW_S, 0
    for step in walked:
        now_s += step.passed_s
        if step.is_new_scheduler:
            cell.take_over(now_s)
        for _ in range(step.messages):
            number += 1
            cell.add(due_message(number, site=step.site, due_s=now_s))
        for _ in range(3):  # what the first wakes leaves in the next
            now_s += COUNTS_INTERVAL_S
            for one in cell.tick(now_s):
                if one.egress_id == "e1":
                    for scope in (SCOPES[0], egress_site_scope("e1", one.event.site)):
                        limits = cell.cell.adaptive.warmups.limits_of(scope, now_s)
                        sent[scope].append(Sent(now_s, limits))
                refused = step.is_refused and one.egress_id == "e1"
                outcome = ATTEMPT_OUTCOME_TEMPORARY if refused else ATTEMPT_OUTCOME_DELIVERED
                cell.answer(one, assigned_s=now_s, outcome=outcome)
                cell.results[-1].answered_at.FromMicroseconds(int(now_s * 1e6))
                cell.results[-1].bounce_class = "spam_block" if refused else ""
    return sent


def assert_within(sent: Sequence[Sent]) -> None:
    """In each window, no more than the largest limit of that window."""
    for width_s, name in ((HOUR_S, "per_hour"), (DAY_S, "per_day")):
        for last in sent:
            within = [one for one in sent if last.at_s - width_s < one.at_s <= last.at_s]
            allowed = [getattr(one.limits, name) for one in within]
            assert 0 in allowed or len(within) <= max(allowed)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_no_window_exceeds_the_allowance(walked: list[Step]) -> None:
    cell = memory_cell("e1", "e2", site_limits=SiteLimits(1000), rules=RULES)
    start = WarmupCommand(egress_id="e1", action="start", ramp="test")
    cell.cell.apply_results([], commands=[PolicyCommand(warmup=start)], now_s=NOW_S)
    cell.policies.save(cell.cell.adaptive, NOW_S)
    for sent in walk(cell, walked).values():
        assert_within(sent)


def test_the_walks_reach_every_limit() -> None:
    """Otherwise they would prove nothing."""
    cell = memory_cell("e1", "e2", site_limits=SiteLimits(1000), rules=RULES)
    start = WarmupCommand(egress_id="e1", action="start", ramp="test")
    cell.cell.apply_results([], commands=[PolicyCommand(warmup=start)], now_s=NOW_S)
    cell.policies.save(cell.cell.adaptive, NOW_S)
    hours = [Step(3700.0, 40, "google", is_refused=False, is_new_scheduler=True)] * 60
    sent = walk(cell, hours)[SCOPES[0]]
    assert len([one for one in sent if one.at_s <= NOW_S + HOUR_S * 2]) == 4
    assert len([one for one in sent if one.at_s < NOW_S + DAY_S]) == 20
    assert max(one.limits.per_day for one in sent) > 20
