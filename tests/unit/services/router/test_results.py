"""Results of attempts, as handlers report them to the scheduler."""

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_TEMPORARY,
    AttemptOutcome,
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
    Reply,
)
from contracts.router.v1.results_pb2 import RESULT_KIND_BOUNCE, RESULT_KIND_COMPLAINT
from services.router.domain.results import (
    REPLY_TEXT_MAX,
    LastAssignment,
    attempt_results,
    result_of_report,
)
from services.router.domain.transitions import AppliedTransition

ASSIGNED_S = 1_795_000_000.25


def attempt(
    outcome: "AttemptOutcome.ValueType", at_s: int, *, text: str = ""
) -> tuple[DeliveryAttempted, AppliedTransition]:
    event = DeliveryAttempted(
        outcome=outcome,
        connected=True,
        bounce_class="" if outcome == ATTEMPT_OUTCOME_DELIVERED else "rate_limited",
        reply=Reply(code=250 if not text else 421, enhanced="4.7.0", text=text, mx="mx.site"),
        attempted_at=Timestamp(seconds=at_s),
    )
    row = AppliedTransition("m", 1, 1, False, 0.0, "t/site", "e1", ASSIGNED_S)
    return event, row


def test_successes_are_counted_together_with_the_time_of_the_last() -> None:
    applied = [attempt(ATTEMPT_OUTCOME_DELIVERED, at_s) for at_s in (5, 9, 7)]
    [result] = attempt_results(applied).results
    assert (result.count, result.answered_at.seconds, result.mx_host) == (3, 9, "mx.site")
    assert (result.queue_id, result.egress_id, result.reply_text) == ("t/site", "e1", "")
    assert result.assigned_at.seconds + result.assigned_at.nanos / 1e9 == ASSIGNED_S


def test_a_refusal_is_reported_with_what_the_server_replied() -> None:
    applied = [
        attempt(ATTEMPT_OUTCOME_TEMPORARY, 5, text="slow down"),
        attempt(ATTEMPT_OUTCOME_TEMPORARY, 6, text="slow down"),
        attempt(ATTEMPT_OUTCOME_TEMPORARY, 7, text="x" * 2000),
        attempt(ATTEMPT_OUTCOME_DELIVERED, 8),
    ]
    first, second, third = attempt_results(applied).results
    assert (first.count, first.code, first.enhanced) == (2, 421, "4.7.0")
    assert (first.bounce_class, first.reply_text) == ("rate_limited", "slow down")
    assert len(second.reply_text) == REPLY_TEXT_MAX
    assert third.code == 0


def test_mail_about_a_message_is_reported_for_the_source_it_was_sent_from() -> None:
    sent = LastAssignment("m", "t/site@e1", "e1", "d1", assigned_s=2.0)
    bounce = result_of_report(BounceReceived(bounce_class="spam", reply=Reply(code=550)), sent)
    complaint = result_of_report(ComplaintReceived(received_at=Timestamp(seconds=3)), sent)
    assert (bounce.kind, bounce.egress_id, bounce.code) == (RESULT_KIND_BOUNCE, "e1", 550)
    assert (complaint.kind, complaint.answered_at.seconds) == (RESULT_KIND_COMPLAINT, 3)
    assert bounce.domain_id == complaint.domain_id == "d1"
    assert bounce.assigned_at.seconds == complaint.assigned_at.seconds == 2


def test_the_domains_of_a_tenant_are_counted_apart() -> None:
    applied = [attempt(ATTEMPT_OUTCOME_DELIVERED, 5) for _ in range(3)]
    applied[2][0].domain_id = "d2"
    found = [(one.domain_id, one.count) for one in attempt_results(applied).results]
    assert found == [("", 2), ("d2", 1)]
