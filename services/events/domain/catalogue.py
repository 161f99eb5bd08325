"""What a tenant is told: types with Resend's names, a superset, and the data of each.

An event's data names its own recipient and the To field, and so never another Bcc recipient.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import (
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
    Outcome,
    Reply,
)
from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.ingest.v1.events_pb2 import MessageAccepted, RecipientType
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    CLOSED_STATE_CANCELLED,
    CLOSED_STATE_DELIVERED,
    CLOSED_STATE_FAILED,
    CLOSED_STATE_SUPPRESSED,
    DeliveryAssigned,
    MessageClosed,
    MessageDelayed,
)
from contracts.shield.v1.events_pb2 import MessageScreened, Verdict
from kernel import times
from mail import bounce
from services.events.domain.facts import Fact, Kind, Rank

API_VERSION = "2026-11-01"
Data: TypeAlias = dict[str, Any]

CLOSED_TYPES = {
    CLOSED_STATE_DELIVERED: "email.delivered",
    CLOSED_STATE_BOUNCED: "email.bounced",
    CLOSED_STATE_FAILED: "email.failed",
    CLOSED_STATE_SUPPRESSED: "email.suppressed",
    CLOSED_STATE_CANCELLED: "email.canceled",
}
UNTOLD_TYPES = {
    Kind.ACCEPTED: "message.accepted",
    Kind.SCREENED: "message.screened",
    Kind.ASSIGNED: "message.assigned",
    Kind.ATTEMPTED: "message.attempted",
    Kind.DELAYED: "message.delayed",
}
TOLD_TYPES = {
    Kind.SCREENED: "email.held",
    Kind.ASSIGNED: "email.sent",
    Kind.DELAYED: "email.delivery_delayed",
    Kind.COMPLAINT: "email.complained",
    Kind.BOUNCE: "email.bounced",
    Kind.WEBHOOK_DISABLED: "webhook.disabled",
    Kind.WEBHOOK_TEST: "webhook.test",
}
# Resend's word, and a sentence for people.
ON_LIST = {"type": "OnAccountSuppressionList", "reason": "the recipient is on the suppression list"}
RECIPIENT_TYPES = {
    number: name.rpartition("_")[2].lower() for name, number in RecipientType.items()
}
# What an endpoint may ask for: the types that are emitted, and no others, so that nobody waits for
# an event that never comes.
EVENT_TYPES = frozenset({*CLOSED_TYPES.values(), *TOLD_TYPES.values(), "email.scheduled"})


def type_of(fact: Fact, *, told: bool) -> str:
    """Its name in the timeline and on webhooks."""
    if isinstance(fact.event, MessageClosed):
        return CLOSED_TYPES.get(fact.event.state, "email.failed")
    if told and fact.kind == Kind.ACCEPTED:
        return "email.scheduled" if fact.rank == Rank.SCHEDULED else "email.sent"
    return TOLD_TYPES[fact.kind] if told or fact.kind > Kind.CLOSED else UNTOLD_TYPES[fact.kind]


def data_of(fact: Fact, accepted: MessageAccepted | None, *, told: int) -> Data:
    """The `data` of an event; accepted: of the same message, None when it is not known."""
    if isinstance(fact.event, WebhookDisabled):
        return {"webhook_id": fact.subject_id, "reason": fact.event.reason}
    data = common(fact, accepted)
    if told:
        data["seq"] = told
    data.update(special(fact))
    return data


def common(fact: Fact, accepted: MessageAccepted | None) -> Data:
    data: Data = {
        "email_id": fact.email_id,
        "message_id": fact.subject_id,
        "recipient": fact.recipient,
    }
    if accepted is None:
        return data
    envelope = accepted.envelope
    data["recipient_type"] = RECIPIENT_TYPES[envelope.recipient_type]
    data["from"] = getattr(accepted, "from")
    data["to"] = list(accepted.to)
    data["subject"] = accepted.subject
    data["created_at"] = iso(milliseconds_of(envelope.accepted_at))
    data["tags"] = dict(accepted.tags)
    data["metadata"] = dict(accepted.metadata)
    data["stream"] = accepted.stream or "transactional"
    data["test"] = envelope.test
    return data


def special(fact: Fact) -> Data:
    """What only this kind of event has."""
    event = fact.event
    if isinstance(event, MessageClosed):
        return closing(event)
    if isinstance(event, MessageAccepted):
        scheduled = fact.rank == Rank.SCHEDULED
        return {"scheduled_at": iso(milliseconds_of(event.envelope.due_at))} if scheduled else {}
    if isinstance(event, MessageDelayed):
        later = {"next_attempt_at": iso(milliseconds_of(event.next_attempt_at))}
        return {"smtp": smtp(event.reply, attempt=event.attempt), **later}
    if isinstance(event, ComplaintReceived):
        return {"complaint": {"feedback_type": event.feedback_type, "source": event.source}}
    if isinstance(event, BounceReceived):
        return {"bounce": refusal(event.reply, event.bounce_class, late=True)}
    return internal(event)


def internal(event: Any) -> Data:  # noqa: ANN401 - the engine's own events
    """Of the events that only the timeline shows."""
    if isinstance(event, MessageScreened):
        reasons = [{"rule": r.rule, "score": r.score, "detail": r.detail} for r in event.reasons]
        verdict = Verdict.Name(event.verdict).removeprefix("VERDICT_").lower()
        return {"screening": {"verdict": verdict, "score": event.score, "reasons": reasons}}
    if isinstance(event, DeliveryAssigned):
        sources = {"source_ip": event.source_ip, "source_ipv6": event.source_ipv6}
        way = {"egress_id": event.egress_id, **sources, "site": event.site}
        return {"assignment": {"attempt": event.attempt, **way}}
    if isinstance(event, DeliveryAttempted):
        outcome = Outcome.Name(event.outcome).removeprefix("OUTCOME_").lower()
        reply = smtp(event.reply, attempt=event.attempt)
        if event.bounce_class:
            reply["bounce_class"] = event.bounce_class
        return {
            "outcome": outcome,
            "ambiguous": event.ambiguous,
            "smtp": {**reply, "duration_ms": event.duration_ms},
        }
    return {}


def closing(event: MessageClosed) -> Data:
    said = {"smtp": smtp(event.reply, attempt=event.attempt)} if event.HasField("reply") else {}
    flag = {"ambiguous": True} if event.ambiguous else {}
    if event.state == CLOSED_STATE_DELIVERED:
        return {**said, **flag}
    if event.state == CLOSED_STATE_BOUNCED:
        name = event.bounce_class or ("message_expired" if event.reason == "expired" else "")
        return {**said, **flag, "bounce": refusal(event.reply, name, reason=event.reason)}
    if event.state == CLOSED_STATE_SUPPRESSED:
        return {"suppressed": ON_LIST}
    if event.state == CLOSED_STATE_CANCELLED:
        return {"canceled": {"by": "api"}}
    code = event.reply.enhanced or (str(event.reply.code) if event.reply.code else event.reason)
    return {**said, **flag, "failed": {"reason": event.reason, "code": code}}


def smtp(reply: Reply, *, attempt: int) -> Data:
    return {
        "code": reply.code,
        "enhanced_code": reply.enhanced,
        "response": reply.text,
        "step": reply.step,
        "mx": reply.mx,
        "remote_ip": reply.remote_ip,
        "local_ip": reply.local_ip,
        "tls": reply.tls,
        "tls_cipher": reply.tls_cipher,
        "tls_certificate": reply.tls_certificate,
        "tls_verified": reply.tls_verified,
        "attempt": attempt,
    }


def refusal(reply: Reply, name: str, *, reason: str = "", late: bool = False) -> Data:
    """`bounce`: SES's type and subtype, our class, and what the receiver said."""
    try:
        verdict = bounce.named(name or "uncategorized")
    except KeyError:  # of a newer or older delivery
        verdict = bounce.named("uncategorized")
    said = " ".join(part for part in (str(reply.code or ""), reply.enhanced, reply.text) if part)
    return {
        "type": verdict.ses_type,
        "subType": verdict.ses_subtype,
        "class": name or verdict.name,
        "code": reply.code,
        "enhanced_code": reply.enhanced,
        "diagnosticCode": [said] if said else [],
        "message": reply.text or reason,
        "async": late,
    }


def envelope(identifier: str, name: str, *, created_at: str, data: Mapping[str, Any]) -> bytes:
    """A webhook's body."""
    return msgspec.json.encode(
        {
            "id": identifier,
            "type": name,
            "created_at": created_at,
            "timestamp": created_at,
            "api_version": API_VERSION,
            "data": data,
        }
    )


def iso(moment_ms: int) -> str:
    """RFC 3339 in UTC, of Unix milliseconds; out of bounds it is the bound."""
    seconds, milliseconds = divmod(min(max(moment_ms, 0), times.LAST_MS), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{milliseconds:03d}Z"


def milliseconds_of(moment: Timestamp) -> int:
    return moment.seconds * 1000 + moment.nanos // 1_000_000
