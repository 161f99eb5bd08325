"""Results of attempts, their outcomes and events."""

import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail.smtp_reply import Reply
from services.delivery.domain.attempt_result import (
    STALE,
    AttemptResult,
    ReceivingServer,
    attempted_event,
    bounce_class_of,
    local_refusal,
    outcome_of,
)

DELIVERED, PERMANENT = events.ATTEMPT_OUTCOME_DELIVERED, events.ATTEMPT_OUTCOME_PERMANENT
TEMPORARY, AMBIGUOUS = events.ATTEMPT_OUTCOME_TEMPORARY, events.ATTEMPT_OUTCOME_AMBIGUOUS

OUTCOMES = [
    # step, code, text, outcome
    ("connect", 0, "", TEMPORARY),
    ("greeting", 0, "", TEMPORARY),
    ("greeting", 421, "", TEMPORARY),
    ("greeting", 554, "no service here", TEMPORARY),
    ("ehlo", 550, "go away", TEMPORARY),
    ("ehlo", 421, "", TEMPORARY),
    ("starttls", 454, "", TEMPORARY),
    ("mail", 0, "", TEMPORARY),
    ("mail", 421, "", TEMPORARY),
    ("mail", 450, "", TEMPORARY),
    ("mail", 452, "insufficient system storage", TEMPORARY),
    ("mail", 550, "sender refused", PERMANENT),
    ("mail", 553, "bad sender", PERMANENT),
    ("mail", 552, "too large", PERMANENT),
    ("rcpt", 0, "", TEMPORARY),
    ("rcpt", 421, "", TEMPORARY),
    ("rcpt", 450, "mailbox busy", TEMPORARY),
    ("rcpt", 451, "greylisted", TEMPORARY),
    ("rcpt", 452, "too many recipients", TEMPORARY),
    ("rcpt", 550, "no such user", PERMANENT),
    ("rcpt", 551, "not local", PERMANENT),
    ("rcpt", 552, "too many recipients", TEMPORARY),
    ("rcpt", 552, "5.2.2 mailbox full", TEMPORARY),
    ("rcpt", 450, "5.1.1 user unknown", TEMPORARY),
    ("rcpt", 553, "bad mailbox name", PERMANENT),
    ("rcpt", 554, "relay access denied", PERMANENT),
    ("data", 0, "", TEMPORARY),
    ("data", 250, "ok?", TEMPORARY),
    ("data", 421, "", TEMPORARY),
    ("data", 451, "", TEMPORARY),
    ("data", 554, "no valid recipients", PERMANENT),
    ("end_of_data", 0, "", AMBIGUOUS),
    ("end_of_data", 250, "queued", DELIVERED),
    ("end_of_data", 251, "will forward", DELIVERED),
    ("end_of_data", 354, "more", AMBIGUOUS),
    ("end_of_data", 421, "shutting down", TEMPORARY),
    ("end_of_data", 451, "local error", TEMPORARY),
    ("end_of_data", 452, "disk full", TEMPORARY),
    ("end_of_data", 550, "spam", PERMANENT),
    ("end_of_data", 552, "too large", PERMANENT),
    ("end_of_data", 552, "5.2.2 the mailbox is over quota", TEMPORARY),
    ("end_of_data", 554, "transaction failed", PERMANENT),
]


@pytest.mark.parametrize(("step", "code", "text", "outcome"), OUTCOMES)
def test_the_outcome_of_a_reply_at_a_step(
    step: str, code: int, text: str, outcome: "events.AttemptOutcome.ValueType"
) -> None:
    reply = Reply(code, "", text) if code else None
    assert (
        outcome_of(AttemptResult(step, reply, peer=ReceivingServer("mx", "192.0.2.1", "192.0.2.2")))
        == outcome
    )


def test_a_local_refusal_is_permanent_and_has_its_own_bounce_class() -> None:
    result = local_refusal("message_too_large", "4 octets, but 3 are allowed", enhanced="5.3.4")
    assert outcome_of(result) == PERMANENT
    event = attempted_event(assignment(), result, at_ms=0)
    assert event.bounce_class == "message_too_large"
    assert (event.reply.code, event.reply.enhanced) == (0, "5.3.4")
    assert not event.connected


def test_a_stale_event_has_nothing_about_the_receiving_server() -> None:
    event = attempted_event(assignment(), STALE, at_ms=0)
    assert event.outcome == events.ATTEMPT_OUTCOME_STALE
    assert not event.connected
    assert not event.ambiguous
    assert not event.bounce_class


def test_an_unknown_user_at_rcpt_has_the_class_that_suppresses() -> None:
    assert bounce_class_of(AttemptResult("rcpt", Reply(550, "5.1.1", "User unknown"))) == (
        "invalid_recipient"
    )


def test_an_unknown_user_after_the_data_is_classified_as_a_filter() -> None:
    assert (
        bounce_class_of(AttemptResult("end_of_data", Reply(550, "", "User unknown")))
        == "recipient_filter"
    )


def test_the_event_has_the_receiving_server_and_the_duration() -> None:
    peer = ReceivingServer("mx.example", "192.0.2.1", "192.0.2.2", "TLSv1.3")
    result = AttemptResult("end_of_data", Reply(250, "2.0.0", "Ok"), peer=peer)
    assigned = assignment()
    assigned.context.domain_id = "d"
    event = attempted_event(assigned, result, at_ms=1_700_000_000_123, duration_ms=42)
    assert (event.message_id, event.domain_id) == ("m", "d")
    assert event.attempt == 3
    assert event.recipient == "a@b.example"
    assert event.connected
    assert event.attempted_at.ToMilliseconds() == 1_700_000_000_123
    assert event.duration_ms == 42
    assert event.reply == events.Reply(
        code=250, enhanced="2.0.0", text="Ok", step="end_of_data", mx="mx.example",
        remote_ip="192.0.2.1", local_ip="192.0.2.2", tls="TLSv1.3",
            tls_policy="opportunistic",
    )  # fmt: skip


def test_a_problem_is_reported_as_bounded_printable_text() -> None:
    event = attempted_event(
        assignment(), AttemptResult("ehlo", problem="\x1b[0m" + "x" * 5000), at_ms=0
    )
    assert len(event.reply.text) <= 1024
    assert event.reply.text.isprintable()


def assignment() -> DeliveryAssigned:
    context = MessageContext(message_id="m", tenant_id="t", email_id="e", recipient="a@b.example")
    return DeliveryAssigned(message_id="m", attempt=3, context=context)


@pytest.mark.parametrize(
    ("peer", "policy"),
    [
        (ReceivingServer(), ""),
        (ReceivingServer("mx.example", "192.0.2.1", "192.0.2.2"), "none"),
        (ReceivingServer("mx.example", "192.0.2.1", "192.0.2.2", "TLSv1.2"), "opportunistic"),
        (ReceivingServer("mx.example", "192.0.2.1", "192.0.2.2", "TLSv1.2", policy="dane"), "dane"),
        (ReceivingServer("mx.example", policy="mta-sts"), "mta-sts"),
    ],
)
def test_the_event_has_what_protected_the_message(peer: ReceivingServer, policy: str) -> None:
    event = attempted_event(assignment(), AttemptResult("mail", peer=peer), at_ms=1)
    assert event.reply.tls_policy == policy


@pytest.mark.parametrize(("step", "connected"), [("starttls", False), ("mail", True)])
def test_a_refusal_by_our_own_requirement_of_tls_uses_no_capacity(
    step: str, connected: bool
) -> None:
    peer = ReceivingServer("mx.example", "192.0.2.1", "192.0.2.2", policy="enforced")
    event = attempted_event(assignment(), AttemptResult(step, peer=peer), at_ms=1)
    assert event.connected is connected
