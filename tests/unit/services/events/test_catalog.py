"""The public events: types and data, compatible with Resend."""

import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.events_pb2 import RECIPIENT_TYPE_BCC
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    CLOSED_STATE_CANCELED,
    CLOSED_STATE_FAILED,
    CLOSED_STATE_SUPPRESSED,
    REVIEW_REJECTED,
    REVIEW_RELEASED,
    ClosedState,
    Review,
)
from contracts.shield.v1.events_pb2 import VERDICT_HOLD
from services.events.domain.catalog import CLOSED_TYPES, EVENT_TYPES, event_data_of, event_type_of
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.log_event import is_release, log_event_of
from services.events.domain.state import LogEntry
from services.events.domain.webhook_attempt import recorded_at, webhook_attempt_of
from tests.support.message_events import DEFERRED, REFUSED, MessageEvents

MESSAGE = MessageEvents(tags={"kind": "order"})
POSITION = "019ab000-0000-7000-8000-000000000000"


def data(event: Any) -> dict[str, Any]:  # noqa: ANN401
    return event_data_of(log_event_of(event), MESSAGE.accepted(), public_seq=2)


def test_every_event_has_its_email_and_its_own_recipient() -> None:
    event_data = data(MESSAGE.closed())

    assert event_data["email_id"] == MESSAGE.email_id
    assert event_data["message_id"] == MESSAGE.message_id
    assert (event_data["recipient"], event_data["recipient_type"]) == ("ann@example.net", "to")
    assert (event_data["from"], event_data["to"]) == (
        "Shop <shop@example.com>",
        ["ann@example.net"],
    )
    assert (event_data["subject"], event_data["stream"]) == ("Your order", "transactional")
    assert (event_data["tags"], event_data["metadata"]) == ({"kind": "order"}, {"order": "17"})
    assert event_data["seq"] == 2
    assert event_data["created_at"].endswith("Z")
    assert event_data["smtp"]["enhanced_code"] == "2.0.0"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(253402343999, "9999-12-30T23:59:59.000Z"), (-62135600400, "1970-01-01T00:00:00.000Z")],
)
def test_an_out_of_range_time_is_clamped(seconds: int, expected: str) -> None:
    strange = MESSAGE.delayed()
    strange.next_attempt_at.CopyFrom(Timestamp(seconds=seconds))

    assert data(strange)["next_attempt_at"] == expected


def test_events_of_a_bcc_recipient_appear_only_in_its_own_data() -> None:
    hidden = MessageEvents("boss@example.org", email_id=MESSAGE.email_id)
    accepted = hidden.accepted()
    accepted.context.recipient_type = RECIPIENT_TYPE_BCC

    event_data = event_data_of(log_event_of(hidden.closed()), accepted, public_seq=1)

    assert (event_data["recipient"], event_data["recipient_type"]) == ("boss@example.org", "bcc")
    assert "boss@example.org" not in json.dumps(data(MESSAGE.closed()))


@pytest.mark.parametrize(
    ("state", "name", "key"),
    [
        (CLOSED_STATE_BOUNCED, "email.bounced", "bounce"),
        (CLOSED_STATE_FAILED, "email.failed", "failed"),
        (CLOSED_STATE_SUPPRESSED, "email.suppressed", "suppressed"),
        (CLOSED_STATE_CANCELED, "email.canceled", "canceled"),
    ],
)
def test_each_terminal_state_has_its_type_and_reason(
    state: "ClosedState.ValueType", name: str, key: str
) -> None:
    event = MESSAGE.closed(state, reply=REFUSED, reason="hard_bounce")

    assert event_type_of(log_event_of(event), is_public=True) == name
    assert key in data(event)
    assert name in EVENT_TYPES


@pytest.mark.parametrize(
    ("reason", "more"), [("suppressed: bounce", "bounce"), ("suppressed", None)]
)
def test_a_suppressed_message_has_the_origin_of_the_suppression(
    reason: str, more: str | None
) -> None:
    found = data(MESSAGE.closed(CLOSED_STATE_SUPPRESSED, reason=reason))["suppressed"]
    assert (found["type"], found.get("origin")) == ("OnAccountSuppressionList", more)


def test_a_bounce_has_its_classes_and_the_reply() -> None:
    bounce = data(MESSAGE.closed(CLOSED_STATE_BOUNCED, reply=REFUSED))["bounce"]

    assert bounce == {
        "type": "Permanent",
        "subType": "General",
        "class": "invalid_recipient",
        "code": 550,
        "enhanced_code": "5.1.1",
        "diagnosticCode": ["550 5.1.1 no such user"],
        "message": "no such user",
        "async": False,
    }


def test_an_expired_message_bounces_with_message_expired() -> None:
    event = MESSAGE.closed(CLOSED_STATE_BOUNCED, reply=DEFERRED, reason="expired")
    event.bounce_class = ""

    assert data(event)["bounce"]["class"] == "message_expired"


def test_a_bounce_report_is_marked_as_asynchronous() -> None:
    assert event_type_of(log_event_of(MESSAGE.bounced_late()), is_public=True) == "email.bounced"
    assert data(MESSAGE.bounced_late())["bounce"]["async"] is True


def test_an_unknown_bounce_class_is_passed_on_unchanged() -> None:
    event = MESSAGE.closed(CLOSED_STATE_BOUNCED, reply=REFUSED)
    event.bounce_class = "invented_tomorrow"

    assert data(event)["bounce"]["class"] == "invented_tomorrow"


def test_a_delay_has_the_time_of_the_next_attempt() -> None:
    event_data = data(MESSAGE.delayed())

    assert (
        event_type_of(log_event_of(MESSAGE.delayed()), is_public=True) == "email.delivery_delayed"
    )
    assert event_data["smtp"]["code"] == 451
    assert event_data["next_attempt_at"].endswith("Z")


def test_scheduled_mail_is_scheduled_and_then_sent() -> None:
    later = MessageEvents(scheduled_s=3600)

    assert event_type_of(log_event_of(later.accepted()), is_public=True) == "email.scheduled"
    assert "scheduled_at" in event_data_of(
        log_event_of(later.accepted()), later.accepted(), public_seq=1
    )
    assert event_type_of(log_event_of(later.assigned()), is_public=True) == "email.sent"
    assert event_type_of(log_event_of(MESSAGE.accepted()), is_public=True) == "email.sent"


def test_held_mail_has_the_reasons() -> None:
    held = MESSAGE.screened()
    held.verdict = VERDICT_HOLD
    held.model_version = "1-abc"
    held.reasons.add(rule="lure", score=4.5, detail="x", explanation="A lure", advice="Leave it.")

    assert event_type_of(log_event_of(held), is_public=True) == "email.held"
    assert data(held)["screening"] == {
        "verdict": "hold",
        "score": 0.5,
        "reasons": [
            {
                "rule": "lure",
                "score": 4.5,
                "detail": "x",
                "explanation": "A lure",
                "advice": "Leave it.",
            }
        ],
        "model_version": "1-abc",
    }


@pytest.mark.parametrize(
    ("review", "kind", "verdict"),
    [
        (REVIEW_RELEASED, "email.released", "released"),
        (REVIEW_REJECTED, "message.rejected", "rejected"),
    ],
)
def test_a_review_has_who_and_why(review: Review.ValueType, kind: str, verdict: str) -> None:
    event = MESSAGE.reviewed(review)
    entry = log_event_of(event)

    assert event_type_of(entry, is_public=is_release(entry)) == kind
    assert data(event)["review"] == {
        "verdict": verdict,
        "reason": "asked the sender",
        "by": "account",
        "key_id": "k",
        "score": 6.5,
        "model_version": "1-abc",
    }


@pytest.mark.parametrize("test", [True, False])
def test_events_of_test_mail_are_marked(test: bool) -> None:
    accepted = MESSAGE.accepted()
    accepted.context.test = test

    assert event_data_of(log_event_of(MESSAGE.closed()), accepted, public_seq=1)["test"] is test


def test_only_emitted_types_can_be_subscribed_to() -> None:
    emitted = {
        *CLOSED_TYPES.values(),
        *(
            event_type_of(log_event_of(event), is_public=True)
            for event in (MESSAGE.accepted(), MESSAGE.delayed())
        ),
    }

    assert emitted <= EVENT_TYPES
    assert not EVENT_TYPES & {"email.received", "contact.created"}


def test_internal_events_have_their_own_types() -> None:
    events = MESSAGE.accepted(), MESSAGE.screened(), MESSAGE.assigned(), MESSAGE.attempted()

    assert [event_type_of(log_event_of(event), is_public=False) for event in events] == [
        "message.accepted",
        "message.screened",
        "message.assigned",
        "message.attempted",
    ]
    assert data(MESSAGE.attempted())["outcome"] == "delivered"
    assert data(MESSAGE.screened())["screening"]["verdict"] == "pass"
    assert data(MESSAGE.assigned())["assignment"]["attempt"] == 1


def test_the_body_of_a_webhook_has_the_id_of_its_header() -> None:
    entry = LogEntry(log_event_of(MESSAGE.closed()), 5, 2)
    endpoint = WebhookEndpoint("e", MESSAGE.tenant_id, "https://example.com", b"")

    webhook_attempt = webhook_attempt_of(
        entry, MESSAGE.accepted(), endpoint=endpoint, token="t", position=POSITION
    )

    body = json.loads(webhook_attempt.body)
    assert (body["id"], body["type"]) == (webhook_attempt.id, "email.delivered")
    assert webhook_attempt.id == f"evt_{POSITION}"
    assert body["timestamp"] == body["created_at"] == recorded_at(POSITION)
    assert len(webhook_attempt.body) < 20_000
