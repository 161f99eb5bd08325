"""Webhook endpoints, for REST and gRPC. The events service owns them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from contracts.events.v1.events_service_pb2 import (
    CreateWebhookRequest,
    DeleteWebhookRequest,
    EventTypes,
    GetWebhookRequest,
    ListWebhookDeliveriesRequest,
    ListWebhooksRequest,
    TestWebhookRequest,
    UpdateWebhookRequest,
    Webhook,
    WebhookDelivery,
)
from services.ingest.api.access import Principal
from services.ingest.api.administration.base import parse_id
from services.ingest.api.callers import Caller
from services.ingest.api.rest_base import format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import explained
from services.ingest.store.directory_lists import Page

EVENT_NAME = explained(
    r"^[a-z_]+\.[a-z_]+$(?!\n)", "Use the type of an event, such as email.delivered"
)
EventName = Annotated[str, Meta(pattern=EVENT_NAME, max_length=60)]
Endpoint = Annotated[str, Meta(min_length=1, max_length=2000)]
Events = Annotated[list[EventName], Meta(max_length=100)]


class NewWebhook(RequestModel):
    """endpoint: https URL. events: event types; all if empty or absent. An endpoint created with a
    test key receives events of test mail only."""

    endpoint: Endpoint
    events: Events = msgspec.field(default_factory=list)


class UpdateWebhook(RequestModel):
    """What is absent does not change. Events that wait for a disabled webhook are sent once it is
    enabled. webhook_id: Resend's clients repeat it."""

    webhook_id: str = ""
    endpoint: Endpoint | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    status: Literal["enabled", "disabled"] | UnsetType = UNSET


class Webhooks:
    """A test key has no access to live webhooks."""

    def __init__(self, clients: ServiceClients) -> None:
        self._events = clients.events

    async def create(self, principal: Principal, given: NewWebhook) -> Webhook:
        request = CreateWebhookRequest(
            tenant_id=principal.tenant_id, test=principal.test,
            url=given.endpoint, event_types=given.events, account_id=principal.tenant.account_id,
        )  # fmt: skip
        stub = self._events.stub
        return (await self._events.call(stub.CreateWebhook, request, deadline_s=2.0)).webhook

    async def page(self, caller: Caller, page: Page) -> tuple[Sequence[Webhook], bool]:
        """Newest first, without the signing secrets; those of a tenant, or of all tenants of an
        account."""
        request = ListWebhooksRequest(
            **caller.owner._asdict(), test_only=caller.test, **page._asdict()
        )
        response = await self._events.call(self._events.stub.ListWebhooks, request)
        return response.webhooks, response.has_more

    async def get(self, caller: Caller, webhook_id: str) -> Webhook:
        request = GetWebhookRequest(**_selector(caller, webhook_id))
        return (await self._events.call(self._events.stub.GetWebhook, request)).webhook

    async def update(self, caller: Caller, webhook_id: str, given: UpdateWebhook) -> Webhook:
        events = None if given.events is UNSET else EventTypes(names=given.events)
        request = UpdateWebhookRequest(
            **_selector(caller, webhook_id),
            url=None if given.endpoint is UNSET else given.endpoint,
            event_types=events,
            enabled=None if given.status is UNSET else given.status == "enabled",
        )
        stub = self._events.stub
        return (await self._events.call(stub.UpdateWebhook, request, deadline_s=2.0)).webhook

    async def delete(self, caller: Caller, webhook_id: str) -> str:
        request = DeleteWebhookRequest(**_selector(caller, webhook_id))
        stub = self._events.stub
        return (await self._events.call(stub.DeleteWebhook, request, deadline_s=2.0)).id

    async def test(self, caller: Caller, webhook_id: str) -> str:
        """Send webhook.test; returns the id of the event."""
        request = TestWebhookRequest(**_selector(caller, webhook_id))
        stub = self._events.stub
        return (await self._events.call(stub.TestWebhook, request, deadline_s=2.0)).event_id

    async def deliveries(
        self, caller: Caller, webhook_id: str, page: Page
    ) -> tuple[Sequence[WebhookDelivery], bool]:
        """Newest first."""
        request = ListWebhookDeliveriesRequest(
            **_selector(caller, webhook_id), limit=page.limit, after=page.after
        )
        response = await self._events.call(self._events.stub.ListWebhookDeliveries, request)
        return response.deliveries, response.has_more


def _selector(caller: Caller, webhook_id: str) -> dict[str, Any]:
    """Raises Problem."""
    identifier = parse_id(webhook_id, "the webhook")
    return {**caller.owner._asdict(), "id": identifier, "test_only": caller.test}


def to_json(webhook: Webhook) -> dict[str, object]:
    """With Resend's field names."""
    found: dict[str, object] = {
        "object": "webhook",
        "id": webhook.id,
        "tenant_id": webhook.tenant_id,
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
