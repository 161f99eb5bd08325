"""/v1/webhooks: endpoints that receive events. The events service owns them."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming
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
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RequestedPage,
    RestAccess,
    body_schema,
    check_no_key,
    decode_creation_body,
    deleted_response,
    format_timestamp,
    json_response,
    list_response,
    parse_id,
)
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel

EventName = Annotated[str, Meta(pattern=r"^[a-z_]+\.[a-z_]+$(?!\n)", max_length=60)]


class NewWebhook(RequestModel):
    """endpoint: https URL. events: event types; all if empty or absent. An endpoint created with a
    test key receives events of test mail only."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=2000)]
    events: Annotated[list[EventName], Meta(max_length=100)] = msgspec.field(default_factory=list)


decode = msgspec.json.Decoder(NewWebhook).decode


def routes(access: RestAccess, clients: ServiceClients) -> APIRouter:
    router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=PROBLEM_RESPONSES)
    _add_one(router, access, clients)
    _add_lists(router, access, clients)
    return router


def _add_one(router: APIRouter, access: RestAccess, clients: ServiceClients) -> None:
    events = clients.events

    @router.post(
        "", status_code=201, openapi_extra=body_schema(NewWebhook, "a URL"), summary="Add a webhook"
    )
    async def create(incoming: Incoming) -> Response:
        """`signing_secret` verifies the requests that the endpoint receives (Standard Webhooks)."""
        principal = await access.authenticate(incoming)
        given = await decode_creation_body(incoming, decode)
        request = CreateWebhookRequest(
            tenant_id=principal.tenant_id, test=principal.test,
            url=given.endpoint, event_types=given.events,
        )  # fmt: skip
        response = await events.call(events.stub.CreateWebhook, request, deadline_s=2.0)
        return json_response(to_json(response.webhook), 201)

    @router.get("/{webhook_id}", summary="Get a webhook with its signing secret")
    async def get(incoming: Incoming, webhook_id: str) -> Response:
        principal = await access.authenticate(incoming)
        request = GetWebhookRequest(**_selector(principal, webhook_id))
        response = await events.call(events.stub.GetWebhook, request)
        return json_response(to_json(response.webhook))

    @router.delete("/{webhook_id}", summary="Delete a webhook")
    async def delete(incoming: Incoming, webhook_id: str) -> Response:
        principal = await access.authenticate(incoming)
        request = DeleteWebhookRequest(**_selector(principal, webhook_id))
        response = await events.call(events.stub.DeleteWebhook, request, deadline_s=2.0)
        return deleted_response("webhook", response.id)

    @router.post("/{webhook_id}/test", status_code=202, summary="Send webhook.test to an endpoint")
    async def test(incoming: Incoming, webhook_id: str) -> Response:
        principal = await access.authenticate(incoming)
        check_no_key(incoming)
        request = TestWebhookRequest(**_selector(principal, webhook_id))
        response = await events.call(events.stub.TestWebhook, request, deadline_s=2.0)
        return json_response({"object": "event", "id": response.event_id}, 202)


def _add_lists(router: APIRouter, access: RestAccess, clients: ServiceClients) -> None:
    events = clients.events

    @router.get("", summary="List webhooks")
    async def list_webhooks(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        principal = await access.authenticate(incoming)
        request = ListWebhooksRequest(
            tenant_id=principal.tenant_id, test_only=principal.test,
            limit=requested_page.limit, after=requested_page.after, before=requested_page.before,
        )  # fmt: skip
        response = await events.call(events.stub.ListWebhooks, request)
        return list_response(map(to_json, response.webhooks), has_more=response.has_more)

    @router.get("/{webhook_id}/deliveries", summary="List the deliveries of a webhook")
    async def deliveries(
        incoming: Incoming,
        webhook_id: str,
        *,
        requested_page: RequestedForwardPage,
    ) -> Response:
        principal = await access.authenticate(incoming)
        request = ListWebhookDeliveriesRequest(
            **_selector(principal, webhook_id),
            limit=requested_page.limit,
            after=requested_page.after,
        )
        response = await events.call(events.stub.ListWebhookDeliveries, request)
        return list_response(map(delivery_to_json, response.deliveries), has_more=response.has_more)


def _selector(principal: Principal, webhook_id: str) -> dict[str, Any]:
    """A test key has no access to live webhooks. Raises Problem."""
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
