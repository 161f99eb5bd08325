"""One attempt to deliver an event to an endpoint, with its request body."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.bounded_dict import BoundedDict
from services.events.domain.catalog import event_data_of, event_type_of
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.log_event import LogEvent
from services.events.domain.resource_data import format_time_ms
from services.events.domain.state import LogEntry

API_VERSION = "2026-11-01"
ACCEPTS_MAX = 20_000


class WebhookAttempt(NamedTuple):
    """position: of the event in the log; it is the event's id, the same on every attempt.
    attempt_count: number of earlier attempts. traceparent: of the message; may be empty."""

    endpoint: WebhookEndpoint
    position: str
    token: str
    body: bytes
    attempt_count: int = 0
    traceparent: str = ""

    @property
    def id(self) -> str:
        """The id of the webhook request."""
        return public_event_id(self.position)


def webhook_attempt_of(
    entry: LogEntry,
    accepted: MessageAccepted | None,
    *,
    endpoint: WebhookEndpoint,
    token: str,
    position: str,
    attempt_count: int = 0,
) -> WebhookAttempt:
    body = webhook_payload(
        public_event_id(position),
        event_type_of(entry.event, is_public=True),
        created_at=recorded_at(position),
        tenant_id=tenant_of(entry.event, endpoint),
        data=event_data_of(entry.event, accepted, public_seq=entry.public_seq),
    )
    traceparent = accepted.context.traceparent if accepted else ""
    return WebhookAttempt(endpoint, position, token, body, attempt_count, traceparent)


def webhook_payload(
    identifier: str,
    name: str,
    *,
    created_at: str,
    tenant_id: str | None,
    data: Mapping[str, Any],
) -> bytes:
    """The body of a webhook request. tenant_id: None for an event of the whole account."""
    return msgspec.json.encode(
        {
            "id": identifier,
            "type": name,
            "created_at": created_at,
            "timestamp": created_at,
            "api_version": API_VERSION,
            "tenant_id": tenant_id,
            "data": data,
        }
    )


def tenant_of(log_event: LogEvent, endpoint: WebhookEndpoint) -> str | None:
    """Whose event it is; None for one of the endpoint's account itself."""
    if endpoint.account_wide and log_event.tenant_id == endpoint.owner_id:
        return None
    return log_event.tenant_id


def public_event_id(position: str) -> str:
    """The id of an event for tenants."""
    return f"evt_{position}"


def recorded_at(position: str) -> str:
    """The time of the recording, from the UUIDv7: RFC 3339."""
    return format_time_ms(int(position[:8] + position[9:13], 16))


class AcceptedMessageCache:
    """Recent accepts of tenants with endpoints, so that most attempts need not read the log."""

    def __init__(self, size: int = ACCEPTS_MAX) -> None:
        self._by_message: BoundedDict[str, MessageAccepted] = BoundedDict(size)

    def add(self, log_events: Iterable[LogEvent]) -> None:
        for log_event in log_events:
            if isinstance(log_event.payload, MessageAccepted):
                self._by_message[log_event.subject_id] = log_event.payload

    def get(self, log_event: LogEvent) -> MessageAccepted | None:
        return self._by_message.get(log_event.subject_id)
