"""A host without the TLS that we require never saw the message, so it costs the sender nothing."""

import pytest

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY, DeliveryAttempted, Reply
from contracts.router.v1.policies_pb2 import PolicyCommand, WarmupCommand
from services.router.domain.events import timestamp
from services.router.domain.limits import Limits
from services.router.domain.policy_engine import AdaptivePolicyRules
from services.router.domain.ramps import Ramp
from services.router.domain.results import attempt_result
from services.router.domain.transitions import AppliedTransition
from tests.support.memory_cell import NOW_S, MemoryCell, due_message, memory_cell

REFUSALS = 100
RULES = AdaptivePolicyRules(ramps={"test": Ramp("test", "day", (24_000, 48_000), "the test")})
LIMITS = Limits(per_hour=1_000, per_day=1_000, in_flight_max=200)
START = PolicyCommand(warmup=WarmupCommand(egress_id="e1", action="start", ramp="test"))


def attempted(*, connected: bool) -> DeliveryAttempted:
    return DeliveryAttempted(
        outcome=ATTEMPT_OUTCOME_TEMPORARY,
        connected=connected,
        reply=Reply(
            enhanced="4.7.5",
            text="the certificate of mx.site has expired; the sender requires a valid one",
            step="starttls",
            mx="mx.site",
            tls_policy="enforced",
        ),
        attempted_at=timestamp(NOW_S),
    )


def send_and_refuse(cell: MemoryCell, *, connected: bool) -> None:
    """One message is assigned, and the event of its attempt arrives."""
    cell.add(due_message())
    [assignment] = cell.tick(NOW_S)
    del cell.assigned[assignment.row.message_id]
    row = AppliedTransition(
        "m1", 1, 1, False, NOW_S, assignment.row.queue_id, assignment.egress_id, NOW_S
    )
    cell.results.append(attempt_result([(attempted(connected=connected), row)]))
    cell.tick(NOW_S)


def state_of(cell: MemoryCell) -> tuple[object, ...]:
    """The warmup, what was published and counted for reputation, and the limits in use."""
    warmups = cell.cell.adaptive.warmups
    usage = cell.cell.scopes.ledger.usage(now_s=NOW_S)
    return (
        warmups.state_of("e1"),
        warmups.facts_of("e1"),
        list(cell.policies.published),
        dict(cell.policies.counts),
        [(one.scope, one.limit) for one in usage if one.capacity.available < one.maximum],
    )


@pytest.mark.parametrize("connected", [False, True])
def test_refusals_by_our_own_requirement_of_tls_leave_everything_as_it_was(
    connected: bool,
) -> None:
    """As refusals by a receiver do not."""
    cell = memory_cell("e1", rules=RULES, tenant_limits=LIMITS)
    cell.cell.apply_results([], commands=[START], now_s=NOW_S)
    cell.tick(NOW_S)
    before = state_of(cell)
    for _ in range(REFUSALS):
        send_and_refuse(cell, connected=connected)
    assert (state_of(cell) == before) is not connected
    assert cell.cell.adaptive.warmups.facts_of("e1").used == (REFUSALS if connected else 0)
    assert cell.cell.adaptive.reputation.standings() == []
