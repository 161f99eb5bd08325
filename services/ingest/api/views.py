"""Emails, their recipients and their events, as the REST API shows them."""

from google.protobuf.json_format import MessageToDict

from contracts.events.v1.events_service_pb2 import LoggedEmail, LoggedEvent
from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import RecipientType
from contracts.router.v1.router_service_pb2 import MessageState
from services.ingest.api.emails import Known
from services.ingest.api.resource import iso, moment
from services.ingest.store.emails import KeptMessage


def shown(known: Known, content: Content | None) -> dict[str, object]:
    """GET /v1/emails/{id}: Resend's fields, and each recipient."""
    email, first = known.email, known.email.first
    by_type = {
        kind: [one.recipient.address for one in email.messages if one.recipient.type == kind]
        for kind in (RecipientType.RECIPIENT_TYPE_CC, RecipientType.RECIPIENT_TYPE_BCC)
    }
    cc = list(content.cc) if content else by_type[RecipientType.RECIPIENT_TYPE_CC]
    return {
        "object": "email",
        "id": first.envelope.email_id,
        "from": getattr(first, "from"),
        "to": list(first.to),
        "cc": cc,
        "bcc": by_type[RecipientType.RECIPIENT_TYPE_BCC],
        "reply_to": list(content.reply_to) if content else [],
        "subject": content.subject if content else first.subject,
        "html": (content.html or None) if content else None,
        "text": (content.text or None) if content else None,
        "created_at": moment(first.envelope.accepted_at),
        "scheduled_at": iso(email.scheduled_at) if email.scheduled_at else None,
        "last_event": known.last_event,
        "tags": [{"name": name, "value": value} for name, value in sorted(first.tags.items())],
        "metadata": dict(first.metadata),
        "stream": first.stream,
        "test": first.envelope.test,
        "recipients": [_recipient(one, known) for one in email.messages],
        "unavailable": known.unavailable,
    }


def _recipient(one: KeptMessage, known: Known) -> dict[str, object]:
    state = known.state_of(one)
    unknown = "unknown" if "router" in known.unavailable else "accepted"
    return {
        "message_id": one.message_id,
        "recipient": one.recipient.address,
        "type": RecipientType.Name(one.recipient.type).rpartition("_")[2].lower(),  # type: ignore[arg-type]
        "state": state.state or one.closed or unknown,
        "wait_reason": state.wait_reason or None,
        "due_at": moment(state.due_at),
        "attempt": state.attempt,
        "tries": state.tries,
        "ambiguous": state.ambiguous,
        "reply": reply_of(state),
        "lane": state.lane or None,
    }


def reply_of(state: MessageState) -> dict[str, object] | None:
    if not state.HasField("reply"):
        return None
    return MessageToDict(state.reply, preserving_proto_field_name=True)


def shown_logged(email: LoggedEmail) -> dict[str, object]:
    return {
        "object": "email",
        "id": email.id,
        "from": getattr(email, "from"),
        "to": list(email.to),
        "subject": email.subject,
        "created_at": moment(email.created_at),
        "scheduled_at": moment(email.scheduled_at),
        "last_event": email.last_event,
        "tags": [{"name": name, "value": value} for name, value in sorted(email.tags.items())],
    }


def shown_event(event: LoggedEvent) -> dict[str, object]:
    return {
        "id": event.id,
        "type": event.type,
        "message_id": event.message_id,
        "recipient": event.recipient,
        "seq": event.seq,
        "created_at": moment(event.created_at),
        "data": whole(MessageToDict(event.data)),
    }


def whole(value: object) -> object:
    """The numbers of a protobuf Struct are all floats: a reply's code is 250, not 250.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list) else value
