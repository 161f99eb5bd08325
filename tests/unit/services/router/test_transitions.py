"""The transition that each attempt result leads to."""

from itertools import pairwise

import pytest

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_AMBIGUOUS,
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_EGRESS_FAILED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_STALE,
    ATTEMPT_OUTCOME_TEMPORARY,
    AttemptOutcome,
    DeliveryAttempted,
    Reply,
)
from contracts.router.v1.events_pb2 import CLOSED_STATE_BOUNCED, MessageClosed, MessageDelayed
from services.router.domain.message import AssignedRow, MessageRowState
from services.router.domain.retry import SCHEDULE_S, RetryPolicy
from services.router.domain.transitions import (
    DUE_NOW_S,
    AppliedTransition,
    AttemptPolicy,
    Transition,
    decide,
    decide_from_event,
    event_for,
    is_ambiguous,
    strike_from,
)

NOW_S = 1_795_000_000.0
ID = "019ab000-0000-7000-8000-000000000001"
POLICY = AttemptPolicy(RetryPolicy())


def row(*, attempt_count: int = 0, expires_s: float = NOW_S + 3600) -> AssignedRow:
    return AssignedRow(ID, attempt_count + 1, attempt_count, expires_s)


def attempt_result(
    outcome: "AttemptOutcome.ValueType",
    *,
    code: int = 0,
    bounce_class: str = "",
    connected: bool = True,
    test: bool = False,
    step: str = "",
) -> DeliveryAttempted:
    return DeliveryAttempted(
        message_id=ID,
        attempt=1,
        tenant_id="t",
        recipient="ann@example.com",
        outcome=outcome,
        reply=Reply(code=code, text="text", step=step),
        bounce_class=bounce_class,
        connected=connected,
        ambiguous=outcome == ATTEMPT_OUTCOME_AMBIGUOUS,
        test=test,
    )


def decided(
    assigned: AssignedRow, event: DeliveryAttempted, policy: AttemptPolicy = POLICY
) -> Transition:
    return decide(event, assigned, now_s=NOW_S, policy=policy)


def applied_row(
    transition: Transition, *, attempt_count: int = 0, ambiguous: bool = False
) -> AppliedTransition:
    """The row after the transition. attempt_count, ambiguous: of the row before it."""
    flagged = ambiguous or is_ambiguous(transition.event)
    return AppliedTransition(
        *(ID, 1, attempt_count + transition.added_attempts, flagged, NOW_S),
        queue_id="tenant/site",
        egress_id="e1",
        assigned_s=NOW_S - 1,
    )


def test_2xx_after_end_of_data_is_delivered() -> None:
    transition = decided(row(), attempt_result(ATTEMPT_OUTCOME_DELIVERED, code=250))
    assert (transition.state, transition.added_attempts) == (MessageRowState.DELIVERED, 1)
    assert isinstance(event_for(transition, applied_row(transition)), MessageClosed)


def test_a_permanent_refusal_bounces_and_counts_as_a_strike() -> None:
    transition = decided(
        row(), attempt_result(ATTEMPT_OUTCOME_PERMANENT, code=550, bounce_class="invalid_recipient")
    )
    assert transition.state is MessageRowState.BOUNCED
    strike = strike_from(transition)
    assert strike is not None
    assert strike.suppress_after == 1


@pytest.mark.parametrize("bounce_class", ["spam_block", "policy_related", "uncategorized", "new"])
def test_a_refusal_of_the_sender_is_no_strike_against_the_address(bounce_class: str) -> None:
    transition = decided(
        row(), attempt_result(ATTEMPT_OUTCOME_PERMANENT, code=550, bounce_class=bounce_class)
    )
    assert strike_from(transition) is None


def test_test_mail_records_no_strike() -> None:
    event = attempt_result(
        ATTEMPT_OUTCOME_PERMANENT, code=550, bounce_class="invalid_recipient", test=True
    )
    assert strike_from(decided(row(), event)) is None


def test_a_message_refused_without_a_connection_fails_and_does_not_bounce() -> None:
    event = attempt_result(
        ATTEMPT_OUTCOME_PERMANENT, bounce_class="private_address", connected=False
    )
    transition = decided(row(), event)
    assert (transition.state, transition.reason) == (MessageRowState.FAILED, "private_address")


def test_a_temporary_refusal_is_retried_by_the_schedule_and_published() -> None:
    for attempt_count, wait_s in enumerate([*SCHEDULE_S, SCHEDULE_S[-1]]):
        late = row(attempt_count=attempt_count, expires_s=NOW_S + 1e6)
        transition = decided(late, attempt_result(ATTEMPT_OUTCOME_TEMPORARY, code=451))
        assert (transition.state, transition.added_attempts) == (MessageRowState.QUEUED, 1)
        assert 0.9 * wait_s <= transition.due_s - NOW_S <= 1.1 * wait_s
        delayed = event_for(transition, applied_row(transition, attempt_count=attempt_count))
        assert isinstance(delayed, MessageDelayed)
        assert delayed.attempt_count == attempt_count + 1


@pytest.mark.parametrize("step", ["connect", "greeting", "ehlo", "starttls"])
def test_a_failed_connection_does_not_count_as_an_attempt(step: str) -> None:
    event = attempt_result(ATTEMPT_OUTCOME_TEMPORARY, code=421, step=step)
    for uncounted, wait_s in enumerate(SCHEDULE_S, 1):
        late = AssignedRow(ID, 3 + uncounted, 3, NOW_S + 1e6)
        transition = decided(late, event)
        assert (transition.state, transition.added_attempts, transition.reason) == (
            MessageRowState.QUEUED,
            0,
            "unreachable",
        )
        assert 0.9 * wait_s <= transition.due_s - NOW_S <= 1.1 * wait_s


def test_an_attempt_for_which_dns_does_not_answer_is_none_and_names_the_reason() -> None:
    event = attempt_result(ATTEMPT_OUTCOME_TEMPORARY, step="dns", connected=False)
    transition = decided(row(), event)
    assert (transition.state, transition.added_attempts, transition.reason) == (
        MessageRowState.QUEUED,
        0,
        "dns",
    )


@pytest.mark.parametrize("policy", ["mta-sts", "dane", "enforced"])
def test_a_message_that_must_have_tls_waits_with_that_reason(policy: str) -> None:
    event = attempt_result(ATTEMPT_OUTCOME_TEMPORARY, step="starttls")
    event.reply.tls_policy = policy
    assert decided(row(), event).reason == "tls_required"
    event.reply.step = "greeting"
    assert decided(row(), event).reason == "unreachable"


def test_an_expired_message_to_an_unreachable_host_fails_and_does_not_bounce() -> None:
    event = attempt_result(ATTEMPT_OUTCOME_TEMPORARY, step="connect", connected=False)
    assert decided(row(expires_s=NOW_S), event).state is MessageRowState.FAILED
    assert decided(row(attempt_count=1, expires_s=NOW_S), event).state is MessageRowState.BOUNCED


def test_greylisting_does_not_count_as_an_attempt() -> None:
    transition = decided(
        row(attempt_count=2),
        attempt_result(ATTEMPT_OUTCOME_TEMPORARY, code=451, bounce_class="greylisted"),
    )
    assert (transition.state, transition.added_attempts, transition.reason) == (
        MessageRowState.QUEUED,
        0,
        "greylisted",
    )


def test_endless_greylisting_is_retried_by_the_schedule() -> None:
    late = row()._replace(attempt=50)
    event = attempt_result(ATTEMPT_OUTCOME_TEMPORARY, code=451, bounce_class="greylisted")
    event.attempt = late.attempt
    transition = decided(late, event)
    assert (transition.state, transition.added_attempts, transition.reason) == (
        MessageRowState.QUEUED,
        1,
        "retry",
    )


@pytest.mark.parametrize("outcome", [ATTEMPT_OUTCOME_STALE, ATTEMPT_OUTCOME_EGRESS_FAILED])
def test_what_was_no_attempt_is_due_at_once_and_publishes_nothing(
    outcome: "AttemptOutcome.ValueType",
) -> None:
    transition = decided(row(), attempt_result(outcome, connected=False))
    assert (transition.state, transition.added_attempts, transition.due_s) == (
        MessageRowState.QUEUED,
        0,
        DUE_NOW_S,
    )
    assert event_for(transition, applied_row(transition)) is None


def test_an_ambiguous_attempt_is_retried_or_fails_by_the_tenants_policy() -> None:
    transition = decided(row(), attempt_result(ATTEMPT_OUTCOME_AMBIGUOUS))
    assert (transition.state, is_ambiguous(transition.event)) == (MessageRowState.QUEUED, True)
    cautious = AttemptPolicy(RetryPolicy(), ambiguous_fails=True)
    transition = decided(row(), attempt_result(ATTEMPT_OUTCOME_AMBIGUOUS), cautious)
    assert (transition.state, is_ambiguous(transition.event)) == (MessageRowState.FAILED, True)


def test_a_message_stays_ambiguous_after_a_later_attempt() -> None:
    transition = decided(row(), attempt_result(ATTEMPT_OUTCOME_DELIVERED, code=250))
    closed = event_for(transition, applied_row(transition, ambiguous=True))
    assert isinstance(closed, MessageClosed)
    assert closed.ambiguous


def test_an_expired_message_bounces_after_an_attempt() -> None:
    transition = decided(
        row(expires_s=NOW_S - 1), attempt_result(ATTEMPT_OUTCOME_TEMPORARY, code=451)
    )
    assert (transition.state, transition.reason) == (MessageRowState.BOUNCED, "expired")
    closed = event_for(transition, applied_row(transition))
    assert isinstance(closed, MessageClosed)
    assert closed.state == CLOSED_STATE_BOUNCED


@pytest.mark.parametrize(
    "outcome", [ATTEMPT_OUTCOME_DELIVERED, ATTEMPT_OUTCOME_PERMANENT, ATTEMPT_OUTCOME_STALE]
)
def test_a_final_outcome_is_decided_without_the_row(outcome: "AttemptOutcome.ValueType") -> None:
    event = attempt_result(outcome, code=550)
    assert decide_from_event(event) == decided(row(attempt_count=3, expires_s=NOW_S - 1), event)


@pytest.mark.parametrize("outcome", [ATTEMPT_OUTCOME_TEMPORARY, ATTEMPT_OUTCOME_AMBIGUOUS])
def test_a_retry_is_decided_only_with_the_row(
    outcome: "AttemptOutcome.ValueType",
) -> None:
    assert decide_from_event(attempt_result(outcome, code=451)) is None


def test_the_same_event_leads_to_the_same_decision() -> None:
    event = attempt_result(ATTEMPT_OUTCOME_TEMPORARY, code=451)
    assert decided(row(), event) == decided(row(), event)


def test_a_server_that_never_accepts_is_tried_by_the_schedule_until_expiry() -> None:
    """The attempts follow the schedule, and the message ends once."""
    assigned, now_s, attempted_at_s = row(expires_s=NOW_S + 72 * 3600), NOW_S, [NOW_S]
    while True:
        event = attempt_result(ATTEMPT_OUTCOME_TEMPORARY, code=451)
        event.attempt = assigned.attempt
        transition = decide(event, assigned, now_s=now_s, policy=POLICY)
        if transition.state is not MessageRowState.QUEUED or transition.due_s >= assigned.expires_s:
            break
        now_s = transition.due_s
        attempted_at_s.append(now_s)
        assigned = assigned._replace(
            attempt=assigned.attempt + 1,
            attempt_count=assigned.attempt_count + transition.added_attempts,
        )
    waits_s = [after - before for before, after in pairwise(attempted_at_s)]
    expected = [*SCHEDULE_S, *[SCHEDULE_S[-1]] * 100][: len(waits_s)]
    assert all(
        0.9 * plan <= wait <= 1.1 * plan for wait, plan in zip(waits_s, expected, strict=True)
    )
    assert 20 <= len(attempted_at_s) <= 28
