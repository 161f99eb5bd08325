"""Emails, their recipients and their events as JSON of the REST API."""

from google.protobuf.json_format import MessageToDict

from contracts.events.v1.events_service_pb2 import LoggedEmail, LoggedEvent
from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import RecipientType
from contracts.router.v1.router_service_pb2 import MessageState
from services.ingest.api.emails import EmailWithStates
from services.ingest.api.rest_base import format_time, format_timestamp
from services.ingest.store.emails import StoredMessage


def to_json(found: EmailWithStates, content: Content | None) -> dict[str, object]:
    """GET /v1/emails/{id}: Resend's fields, and the state of each recipient."""
    email, first = found.email, found.email.first
    by_type = {
        kind: [one.recipient.address for one in email.messages if one.recipient.type == kind]
        for kind in (RecipientType.RECIPIENT_TYPE_CC, RecipientType.RECIPIENT_TYPE_BCC)
    }
    cc = list(content.cc) if content else by_type[RecipientType.RECIPIENT_TYPE_CC]
    return {
        "object": "email",
        "id": first.context.email_id,
        "tenant_id": first.context.tenant_id,
        "from": getattr(first, "from"),
        "to": list(first.to),
        "cc": cc,
        "bcc": by_type[RecipientType.RECIPIENT_TYPE_BCC],
        "reply_to": list(content.reply_to) if content else [],
        "subject": content.subject if content else first.subject,
        "html": (content.html or None) if content else None,
        "text": (content.text or None) if content else None,
        "created_at": format_timestamp(first.context.accepted_at),
        "scheduled_at": format_time(email.scheduled_at) if email.scheduled_at else None,
        "last_event": found.last_event,
        "tags": [{"name": name, "value": value} for name, value in sorted(first.tags.items())],
        "metadata": dict(first.metadata),
        "stream": first.stream,
        "list": first.context.list or None,
        "test": first.context.test,
        "recipients": [_recipient(one, found) for one in email.messages],
        "engagement": None if "events" in found.unavailable else _engagement(found.logged),
        "unavailable": found.unavailable,
    }


def _engagement(logged: LoggedEmail) -> dict[str, object]:
    found = logged.engagement
    return {
        "opens": found.opens,
        "clicks": found.clicks,
        "machine_opens": found.machine_opens,
        "machine_clicks": found.machine_clicks,
        "first_opened_at": format_timestamp(found.first_opened_at),
        "first_clicked_at": format_timestamp(found.first_clicked_at),
        "unsubscribed_at": format_timestamp(found.unsubscribed_at),
    }


def _recipient(one: StoredMessage, found: EmailWithStates) -> dict[str, object]:
    state = found.state_of(one)
    unknown = "unknown" if "router" in found.unavailable else "accepted"
    return {
        "message_id": one.message_id,
        "recipient": one.recipient.address,
        "type": RecipientType.Name(one.recipient.type).rpartition("_")[2].lower(),  # type: ignore[arg-type]
        "state": state.state or one.closed_state or unknown,
        "queued_reason": state.queued_reason or None,
        "due_at": format_timestamp(state.due_at),
        "attempt": state.attempt,
        "attempt_count": state.attempt_count,
        "ambiguous": state.ambiguous,
        "reply": reply_to_json(state),
        "queue_id": state.queue_id or None,
    }


def reply_to_json(state: MessageState) -> dict[str, object] | None:
    if not state.HasField("reply"):
        return None
    return MessageToDict(state.reply, preserving_proto_field_name=True)


def logged_email_to_json(email: LoggedEmail) -> dict[str, object]:
    return {
        "object": "email",
        "id": email.id,
        "tenant_id": email.tenant_id,
        "from": getattr(email, "from"),
        "to": list(email.to),
        "subject": email.subject,
        "created_at": format_timestamp(email.created_at),
        "scheduled_at": format_timestamp(email.scheduled_at),
        "last_event": email.last_event,
        "tags": [{"name": name, "value": value} for name, value in sorted(email.tags.items())],
    }


def event_to_json(event: LoggedEvent) -> dict[str, object]:
    return {
        "id": event.id,
        "type": event.type,
        "message_id": event.message_id,
        "recipient": event.recipient,
        "seq": event.seq,
        "created_at": format_timestamp(event.created_at),
        "data": with_whole_numbers(MessageToDict(event.data)),
        "tenant_id": event.tenant_id,
    }


def with_whole_numbers(value: object) -> object:
    """Numbers of a protobuf Struct are floats; the code of a reply must be 250, not 250.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: with_whole_numbers(one) for name, one in value.items()}
    return [with_whole_numbers(one) for one in value] if isinstance(value, list) else value
