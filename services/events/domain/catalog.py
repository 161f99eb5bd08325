"""The public events: their types, a superset of Resend's, and their data.

The data of an event has its own recipient and the To field, so it never reveals another Bcc
recipient.
"""

from typing import Any

from contracts.delivery.v1.events_pb2 import (
    AttemptOutcome,
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
    Reply,
)
from contracts.events.v1.events_pb2 import (
    LinkClicked,
    MachineCertainty,
    MessageOpened,
    RecipientUnsubscribed,
    TrackingHit,
    WebhookDisabled,
)
from contracts.ingest.v1.events_pb2 import (
    MessageAccepted,
    RecipientType,
)
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    CLOSED_STATE_CANCELED,
    CLOSED_STATE_DELIVERED,
    CLOSED_STATE_FAILED,
    CLOSED_STATE_SUPPRESSED,
    DeliveryAssigned,
    HeldMessageReviewed,
    MessageClosed,
    MessageDelayed,
    MessageHeld,
    Review,
)
from contracts.shield.v1.events_pb2 import MessageScreened, Opinion, ShadowDiffered, Verdict
from mail import bounce
from services.events.domain.log_event import (
    EventKind,
    LogEvent,
    StatusRank,
    is_release,
    is_test,
)
from services.events.domain.resource_data import (
    DATA_OF_RESOURCES,
    RESOURCE_TYPES,
    TYPES_OF_RESOURCES,
    EventData,
    format_time_ms,
    milliseconds_of,
)

CLOSED_TYPES = {
    CLOSED_STATE_DELIVERED: "email.delivered",
    CLOSED_STATE_BOUNCED: "email.bounced",
    CLOSED_STATE_FAILED: "email.failed",
    CLOSED_STATE_SUPPRESSED: "email.suppressed",
    CLOSED_STATE_CANCELED: "email.canceled",
}
INTERNAL_TYPES = {
    EventKind.ACCEPTED: "message.accepted",
    EventKind.SCREENED: "message.screened",
    EventKind.ASSIGNED: "message.assigned",
    EventKind.ATTEMPTED: "message.attempted",
    EventKind.DELAYED: "message.delayed",
}
PUBLIC_TYPES = {
    EventKind.SCREENED: "email.held",
    EventKind.REVIEWED: "email.released",
    EventKind.HELD: "email.held",
    EventKind.ASSIGNED: "email.sent",
    EventKind.DELAYED: "email.delivery_delayed",
    EventKind.COMPLAINT: "email.complained",
    EventKind.BOUNCE: "email.bounced",
    EventKind.OPENED: "email.opened",
    EventKind.CLICKED: "email.clicked",
    EventKind.UNSUBSCRIBED: "email.unsubscribed",
    EventKind.WEBHOOK_DISABLED: "webhook.disabled",
    EventKind.WEBHOOK_TEST: "webhook.test",
    EventKind.REPORT: "report.ready",
    EventKind.USAGE: "usage.threshold",
    EventKind.API_KEY: "key.rotated",
    EventKind.LIMIT: "limit.reached",
}
# Resend's type.
SUPPRESSED_DATA = {
    "type": "OnAccountSuppressionList",
    "reason": "the recipient is on the suppression list",
}
RECIPIENT_TYPES = {
    number: name.rpartition("_")[2].lower() for name, number in RecipientType.items()
}
CAMPAIGN_HELD = "Too many recipients of similar mail have complained."
REASON_FIELDS = ("rule", "score", "detail", "explanation", "advice")  # of shield
# The types that an endpoint can subscribe to: only those that are emitted, so that no client waits
# for an event that never occurs.
EVENT_TYPES = frozenset(
    {
        *CLOSED_TYPES.values(),
        *PUBLIC_TYPES.values(),
        *RESOURCE_TYPES,
        "email.scheduled",
    }
)


def event_type_of(log_event: LogEvent, *, is_public: bool) -> str:
    """The type of an event in the timeline and in webhooks."""
    if isinstance(log_event.payload, MessageClosed):
        return CLOSED_TYPES.get(log_event.payload.state, "email.failed")
    if type_of := TYPES_OF_RESOURCES.get(type(log_event.payload)):
        return type_of(log_event.payload)
    if log_event.kind == EventKind.SHADOW:
        return "message.shadow_differed"
    if log_event.kind == EventKind.REVIEWED and not is_release(log_event):
        return "message.rejected"
    if is_public and log_event.kind == EventKind.ACCEPTED:
        return "email.scheduled" if log_event.rank == StatusRank.SCHEDULED else "email.sent"
    return (
        PUBLIC_TYPES[log_event.kind]
        if is_public or log_event.kind > EventKind.CLOSED
        else INTERNAL_TYPES[log_event.kind]
    )


def event_data_of(
    log_event: LogEvent, accepted: MessageAccepted | None, *, public_seq: int
) -> EventData:
    """The `data` of an event; accepted: of its message, None if unknown."""
    if isinstance(log_event.payload, WebhookDisabled):
        return {"webhook_id": log_event.subject_id, "reason": log_event.payload.reason}
    if data_of := DATA_OF_RESOURCES.get(type(log_event.payload)):
        return data_of(log_event.payload)
    data = common_data(log_event, accepted)
    if public_seq and log_event.email_id:
        data["seq"] = public_seq
    data.update(data_of_kind(log_event))
    return data


def common_data(log_event: LogEvent, accepted: MessageAccepted | None) -> EventData:
    """email_id: None once the log has forgotten the message; a link has told the rest."""
    data: EventData = {
        "email_id": log_event.email_id or None,
        "message_id": log_event.subject_id,
        "recipient": log_event.recipient,
    }
    if accepted is None:
        return data if log_event.email_id else {**data, "test": is_test(log_event)}
    context = accepted.context
    data["recipient_type"] = RECIPIENT_TYPES[context.recipient_type]
    data["from"] = getattr(accepted, "from")
    data["to"] = list(accepted.to)
    data["subject"] = accepted.subject
    data["created_at"] = format_time_ms(milliseconds_of(context.accepted_at))
    data["tags"] = dict(accepted.tags)
    data["metadata"] = dict(accepted.metadata)
    if accepted.headers:
        data["headers"] = [{"name": one.name, "value": one.value} for one in accepted.headers]
    data["stream"] = accepted.stream or "transactional"
    if context.list:
        data["list"] = context.list
    data["test"] = context.test
    return data


def data_of_kind(log_event: LogEvent) -> EventData:
    """The fields that only this kind of event has."""
    event = log_event.payload
    if isinstance(event, MessageClosed):
        return closed_data(event)
    if isinstance(event, MessageAccepted):
        scheduled = log_event.rank == StatusRank.SCHEDULED
        return (
            {"scheduled_at": format_time_ms(milliseconds_of(event.context.due_at))}
            if scheduled
            else {}
        )
    if isinstance(event, MessageDelayed):
        later = {"next_attempt_at": format_time_ms(milliseconds_of(event.next_attempt_at))}
        return {"smtp": smtp_data(event.reply, attempt=event.attempt), **later}
    if isinstance(event, ComplaintReceived):
        return {"complaint": {"feedback_type": event.feedback_type, "source": event.source}}
    if isinstance(event, BounceReceived):
        return {"bounce": bounce_data(event.reply, event.bounce_class, late=True)}
    return engagement_data(event) or internal_data(event)


def engagement_data(event: Any) -> EventData:  # noqa: ANN401 - one of several events
    """What a recipient, or a machine, did with a message. Resend's names, with additions."""
    if isinstance(event, MessageOpened):
        return {"open": hit_data(event.hit), "first": event.first}
    if isinstance(event, LinkClicked):
        return {"click": {"link": event.link, **hit_data(event.hit)}, "first": event.first}
    if isinstance(event, RecipientUnsubscribed):
        return {"unsubscribe": {"method": event.method, "list": event.list or None}}
    return {}


def hit_data(hit: TrackingHit) -> EventData:
    certainty = MachineCertainty.Name(hit.machine).rpartition("_")[2].lower()
    return {
        "ipAddress": hit.ip or None,
        "userAgent": hit.user_agent or None,
        "timestamp": format_time_ms(milliseconds_of(hit.at)),
        "machine": hit.machine != 0,
        "machine_reason": hit.machine_reason or None,
        "machine_certainty": certainty if hit.machine else None,
    }


def screening_data(event: Any) -> EventData:  # noqa: ANN401 - one of several events
    """What shield, or a reviewer, says of a message."""
    if isinstance(event, MessageScreened):
        reasons = [{name: getattr(one, name) for name in REASON_FIELDS} for one in event.reasons]
        return {"screening": {**opinion_data(event), "reasons": reasons}}
    if isinstance(event, HeldMessageReviewed):
        return {"review": review_data(event)}
    if isinstance(event, MessageHeld):
        reason = {**dict.fromkeys(REASON_FIELDS, ""), "rule": "campaign", "detail": event.detail}
        reasons = [{**reason, "score": 0.0, "explanation": CAMPAIGN_HELD}]
        return {"screening": {"verdict": "hold", "score": 0.0, "reasons": reasons}}
    if isinstance(event, ShadowDiffered):
        return {"live": opinion_data(event.live), "shadow": opinion_data(event.shadow)}
    return {}


def internal_data(event: Any) -> EventData:  # noqa: ANN401 - one of several events
    """The fields of events that appear only in timelines."""
    if found := screening_data(event):
        return found
    if isinstance(event, DeliveryAssigned):
        sources = {"source_ip": event.source_ip, "source_ipv6": event.source_ipv6}
        source = {"egress_id": event.egress_id, **sources, "site": event.site}
        return {"assignment": {"attempt": event.attempt, **source}}
    if isinstance(event, DeliveryAttempted):
        outcome = AttemptOutcome.Name(event.outcome).removeprefix("ATTEMPT_OUTCOME_").lower()
        reply = smtp_data(event.reply, attempt=event.attempt)
        if event.bounce_class:
            reply["bounce_class"] = event.bounce_class
        return {
            "outcome": outcome,
            "ambiguous": event.ambiguous,
            "smtp": {**reply, "duration_ms": event.duration_ms},
            "dialogue": [
                {"command": one.command, "code": one.code, "reply": one.reply}
                for one in event.dialogue
            ],
        }
    return {}


def opinion_data(one: MessageScreened | Opinion) -> EventData:
    """What a model says of a message."""
    verdict = Verdict.Name(one.verdict).removeprefix("VERDICT_").lower()
    return {"verdict": verdict, "score": one.score, "model_version": one.model_version}


def review_data(event: HeldMessageReviewed) -> EventData:
    """by: operator, account or tenant, whose API key it was."""
    return {
        "verdict": Review.Name(event.review).removeprefix("REVIEW_").lower(),
        "reason": event.reason or None,
        "by": event.reviewer.kind,
        "key_id": event.reviewer.key_id,
        "score": event.score,
        "model_version": event.model_version,
    }


def closed_data(event: MessageClosed) -> EventData:
    smtp = (
        {"smtp": smtp_data(event.reply, attempt=event.attempt)} if event.HasField("reply") else {}
    )
    flag = {"ambiguous": True} if event.ambiguous else {}
    if event.state == CLOSED_STATE_DELIVERED:
        return {**smtp, **flag}
    if event.state == CLOSED_STATE_BOUNCED:
        name = event.bounce_class or ("message_expired" if event.reason == "expired" else "")
        return {**smtp, **flag, "bounce": bounce_data(event.reply, name, reason=event.reason)}
    if event.state == CLOSED_STATE_SUPPRESSED:
        _, _, origin = event.reason.partition(": ")
        return {"suppressed": {**SUPPRESSED_DATA, **({"origin": origin} if origin else {})}}
    if event.state == CLOSED_STATE_CANCELED:
        return {"canceled": {"by": "api"}}
    code = event.reply.enhanced or (str(event.reply.code) if event.reply.code else event.reason)
    return {**smtp, **flag, "failed": {"reason": event.reason, "code": code}}


def smtp_data(reply: Reply, *, attempt: int) -> EventData:
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
        "tls_policy": reply.tls_policy,
        "attempt": attempt,
    }


def bounce_data(reply: Reply, name: str, *, reason: str = "", late: bool = False) -> EventData:
    """The `bounce` field: SES's type and subtype, our bounce class, and the reply."""
    try:
        verdict = bounce.class_by_name(name or "uncategorized")
    except KeyError:  # a class of a newer or older version of delivery
        verdict = bounce.class_by_name("uncategorized")
    full = " ".join(part for part in (str(reply.code or ""), reply.enhanced, reply.text) if part)
    return {
        "type": verdict.ses_type,
        "subType": verdict.ses_subtype,
        "class": name or verdict.name,
        "code": reply.code,
        "enhanced_code": reply.enhanced,
        "diagnosticCode": [full] if full else [],
        "message": reply.text or reason,
        "async": late,
    }
