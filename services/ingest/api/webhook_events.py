"""The events of webhooks, for REST and gRPC: how an endpoint responded; sending them again."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from contracts.events.v1 import events_service_pb2 as pb
from contracts.events.v1.events_service_pb2 import (
    GetWebhookEventRequest,
    GetWebhookEventResponse,
    GetWebhookRecoveryRequest,
    ListWebhookEventsRequest,
    ReplayWebhookEventRequest,
    WebhookAttempt,
    WebhookEvent,
    WebhookRecovery,
)
from services.ingest.api.administration.directory import parse_id
from services.ingest.api.body_times import parse_body_time
from services.ingest.api.callers import Caller
from services.ingest.api.rest_base import format_timestamp
from services.ingest.api.webhooks import EventTypes, selector_of
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.store.directory_lists import PageBounds

PREFIX = "evt_"


class RecoverWebhookRequest(RequestModel):
    """since, until: ISO 8601; until is now by default. types: of events; all that the webhook
    subscribes to if empty or absent."""

    since: Annotated[str, Meta(min_length=1, max_length=64)]
    until: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    types: EventTypes = msgspec.field(default_factory=list)


class WebhookEventResource:
    """Of the webhooks that the caller sees."""

    def __init__(self, clients: ServiceClients) -> None:
        self._events = clients.events

    async def page(
        self, caller: Caller, webhook_id: str, page: PageBounds
    ) -> tuple[Sequence[WebhookEvent], bool]:
        """Newest first."""
        request = ListWebhookEventsRequest(
            **selector_of(caller, webhook_id), limit=page.limit, after=page.after
        )
        response = await self._events.call(self._events.stub.ListWebhookEvents, request)
        return response.events, response.has_more

    async def get(self, caller: Caller, webhook_id: str, event_id: str) -> GetWebhookEventResponse:
        request = GetWebhookEventRequest(**event_selector_of(caller, webhook_id, event_id))
        return await self._events.call(self._events.stub.GetWebhookEvent, request, deadline_s=2.0)

    async def attempts(
        self, caller: Caller, webhook_id: str, *, event_id: str, page: PageBounds
    ) -> tuple[Sequence[WebhookAttempt], bool]:
        """Newest first."""
        found = (await self.get(caller, webhook_id, event_id)).attempts
        later = [one for one in found if not page.after or one.id < page.after]
        return later[: page.limit], len(later) > page.limit

    async def recover(
        self, caller: Caller, webhook_id: str, given: RecoverWebhookRequest
    ) -> WebhookRecovery:
        """Send the events of a time again that the webhook has missed, or that have failed."""
        request = pb.RecoverWebhookRequest(
            **selector_of(caller, webhook_id),
            since=parse_body_time(given.since, "since"),
            until=None if given.until is None else parse_body_time(given.until, "until"),
            types=given.types,
        )
        stub = self._events.stub
        return (await self._events.call(stub.RecoverWebhook, request, deadline_s=2.0)).recovery

    async def recovery(self, caller: Caller, webhook_id: str) -> WebhookRecovery:
        """The latest one."""
        request = GetWebhookRecoveryRequest(**selector_of(caller, webhook_id))
        stub = self._events.stub
        return (await self._events.call(stub.GetWebhookRecovery, request)).recovery

    async def replay(self, caller: Caller, webhook_id: str, event_id: str) -> str:
        """Send an event again; returns its id."""
        request = ReplayWebhookEventRequest(**event_selector_of(caller, webhook_id, event_id))
        stub = self._events.stub
        return (await self._events.call(stub.ReplayWebhookEvent, request, deadline_s=2.0)).event_id


def event_selector_of(caller: Caller, webhook_id: str, event_id: str) -> dict[str, Any]:
    """Raises Problem."""
    selector = selector_of(caller, webhook_id)
    return {**selector, "event_id": parse_id(event_id.removeprefix(PREFIX), "the event")}


def event_to_json(event: WebhookEvent) -> dict[str, object]:
    """With Resend's field names, and ours."""
    return {
        "object": "webhook_event",
        "id": event.id,
        "type": event.type,
        "created_at": format_timestamp(event.created_at),
        "status": event.status,
        "attempt_count": event.attempt_count,
        "http_status_code": event.http_status or None,
        "error": event.error or None,
        "next_attempt_at": format_timestamp(event.next_attempt_at),
    }


def shown_to_json(found: GetWebhookEventResponse) -> dict[str, object]:
    """With the payload."""
    payload = msgspec.Raw(found.payload) if found.payload else None
    return {**event_to_json(found.event), "payload": payload}


def attempt_to_json(attempt: WebhookAttempt) -> dict[str, object]:
    return {
        "id": attempt.id,
        "http_status_code": attempt.http_status,
        "response": attempt.response,
        "error": attempt.error or None,
        "sent_at": format_timestamp(attempt.sent_at),
        "duration_ms": attempt.duration_ms,
    }


def recovery_to_json(recovery: WebhookRecovery) -> dict[str, object]:
    return {
        "object": "webhook_recovery",
        "status": "finished" if recovery.HasField("finished_at") else "in_progress",
        "since": format_timestamp(recovery.since),
        "until": format_timestamp(recovery.until),
        "types": list(recovery.types),
        "recovered": recovery.recovered,
        "created_at": format_timestamp(recovery.created_at),
        "finished_at": format_timestamp(recovery.finished_at),
    }
