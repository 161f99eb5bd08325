"""Webhook endpoints, for REST and gRPC. The events service owns them."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from contracts.events.v1.events_service_pb2 import (
    CreateWebhookRequest,
    DeleteWebhookRequest,
    GetWebhookRequest,
    ListWebhookDeliveriesRequest,
    ListWebhooksRequest,
    TestWebhookRequest,
    Webhook,
    WebhookDelivery,
)
from services.ingest.api.access import Principal
from services.ingest.api.rest_base import format_timestamp, parse_id
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.store.directory_lists import Page

EventName = Annotated[str, Meta(pattern=r"^[a-z_]+\.[a-z_]+$(?!\n)", max_length=60)]


class NewWebhook(RequestModel):
    """endpoint: https URL. events: event types; all if empty or absent. An endpoint created with a
    test key receives events of test mail only."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=2000)]
    events: Annotated[list[EventName], Meta(max_length=100)] = msgspec.field(default_factory=list)


class Webhooks:
    """A test key has no access to live webhooks."""

    def __init__(self, clients: ServiceClients) -> None:
        self._events = clients.events

    async def create(self, principal: Principal, given: NewWebhook) -> Webhook:
        request = CreateWebhookRequest(
            tenant_id=principal.tenant_id, test=principal.test,
            url=given.endpoint, event_types=given.events,
        )  # fmt: skip
        stub = self._events.stub
        return (await self._events.call(stub.CreateWebhook, request, deadline_s=2.0)).webhook

    async def page(self, principal: Principal, page: Page) -> tuple[Sequence[Webhook], bool]:
        """Newest first, without the signing secrets."""
        request = ListWebhooksRequest(
            tenant_id=principal.tenant_id, test_only=principal.test, **page._asdict()
        )
        response = await self._events.call(self._events.stub.ListWebhooks, request)
        return response.webhooks, response.has_more

    async def get(self, principal: Principal, webhook_id: str) -> Webhook:
        request = GetWebhookRequest(**_selector(principal, webhook_id))
        return (await self._events.call(self._events.stub.GetWebhook, request)).webhook

    async def delete(self, principal: Principal, webhook_id: str) -> str:
        request = DeleteWebhookRequest(**_selector(principal, webhook_id))
        stub = self._events.stub
        return (await self._events.call(stub.DeleteWebhook, request, deadline_s=2.0)).id

    async def test(self, principal: Principal, webhook_id: str) -> str:
        """Send webhook.test; returns the id of the event."""
        request = TestWebhookRequest(**_selector(principal, webhook_id))
        stub = self._events.stub
        return (await self._events.call(stub.TestWebhook, request, deadline_s=2.0)).event_id

    async def deliveries(
        self, principal: Principal, webhook_id: str, page: Page
    ) -> tuple[Sequence[WebhookDelivery], bool]:
        """Newest first."""
        request = ListWebhookDeliveriesRequest(
            **_selector(principal, webhook_id), limit=page.limit, after=page.after
        )
        response = await self._events.call(self._events.stub.ListWebhookDeliveries, request)
        return response.deliveries, response.has_more


def _selector(principal: Principal, webhook_id: str) -> dict[str, Any]:
    """Raises Problem."""
    identifier = parse_id(webhook_id, "the webhook")
    return {"tenant_id": principal.tenant_id, "id": identifier, "test_only": principal.test}


def to_json(webhook: Webhook) -> dict[str, object]:
    """With Resend's field names."""
    found: dict[str, object] = {
        "object": "webhook",
        "id": webhook.id,
        "endpoint": webhook.url,
        "events": list(webhook.event_types),
        "status": "enabled" if webhook.enabled else "disabled",
        "disabled_reason": webhook.disabled_reason or None,
        "created_at": format_timestamp(webhook.created_at),
    }
    if webhook.signing_secret:
        found["signing_secret"] = webhook.signing_secret
    return found


def delivery_to_json(delivery: WebhookDelivery) -> dict[str, object]:
    return {
        "event_id": delivery.event_id,
        "type": delivery.type,
        "state": delivery.state,
        "attempt_count": delivery.attempt_count,
        "status": delivery.status or None,
        "error": delivery.error or None,
        "due_at": format_timestamp(delivery.due_at),
    }
