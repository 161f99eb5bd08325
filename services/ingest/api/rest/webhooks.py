"""/v1/webhooks: endpoints that are told what happens; events owns them."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Response
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
from services.ingest.api.gate import Caller
from services.ingest.api.resource import (
    PROBLEMS,
    Admission,
    Page,
    check_no_key,
    deleted,
    known_id,
    listed,
    moment,
    new,
    onward,
    page,
    said,
    shape,
)
from services.ingest.clients import Others
from services.ingest.domain.email import Strict

EventName = Annotated[str, Meta(pattern=r"^[a-z_]+\.[a-z_]+$(?!\n)", max_length=60)]


class NewWebhook(Strict):
    """endpoint: https URL. events: which; empty or absent for all. Made with a test key, it is told
    of test mail alone."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=2000)]
    events: Annotated[list[EventName], Meta(max_length=100)] = msgspec.field(default_factory=list)


decode = msgspec.json.Decoder(NewWebhook).decode


def routes(admission: Admission, others: Others) -> APIRouter:
    router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=PROBLEMS)
    _add_one(router, admission, others)
    _add_lists(router, admission, others)
    return router


def _add_one(router: APIRouter, admission: Admission, others: Others) -> None:
    events = others.events

    @router.post(
        "", status_code=201, openapi_extra=shape(NewWebhook, "an endpoint"), summary="Add a webhook"
    )
    async def create(incoming: Incoming) -> Response:
        """Its `signing_secret` verifies what it is sent (Standard Webhooks)."""
        caller = await admission.caller(incoming)
        asked_for = await new(incoming, decode)
        request = CreateWebhookRequest(
            tenant_id=caller.tenant_id,
            url=asked_for.endpoint,
            event_types=asked_for.events,
            test=caller.test,
        )
        answer = await events.ask(events.stub.CreateWebhook, request, deadline_s=2.0)
        return said(shown(answer.webhook), 201)

    @router.get("/{webhook_id}", summary="A webhook with its signing secret")
    async def get(incoming: Incoming, webhook_id: str) -> Response:
        caller = await admission.caller(incoming)
        request = GetWebhookRequest(**_which(caller, webhook_id))
        answer = await events.ask(events.stub.GetWebhook, request)
        return said(shown(answer.webhook))

    @router.delete("/{webhook_id}", summary="Delete a webhook")
    async def delete(incoming: Incoming, webhook_id: str) -> Response:
        caller = await admission.caller(incoming)
        request = DeleteWebhookRequest(**_which(caller, webhook_id))
        answer = await events.ask(events.stub.DeleteWebhook, request, deadline_s=2.0)
        return deleted("webhook", answer.id)

    @router.post("/{webhook_id}/test", status_code=202, summary="Send webhook.test to it")
    async def test(incoming: Incoming, webhook_id: str) -> Response:
        caller = await admission.caller(incoming)
        check_no_key(incoming)
        request = TestWebhookRequest(**_which(caller, webhook_id))
        answer = await events.ask(events.stub.TestWebhook, request, deadline_s=2.0)
        return said({"object": "event", "id": answer.event_id}, 202)


def _add_lists(router: APIRouter, admission: Admission, others: Others) -> None:
    events = others.events

    @router.get("", summary="List webhooks")
    async def list_webhooks(
        incoming: Incoming, *, which: Annotated[Page, Depends(page)]
    ) -> Response:
        caller = await admission.caller(incoming)
        request = ListWebhooksRequest(
            tenant_id=caller.tenant_id, test_only=caller.test,
            limit=which.limit, after=which.after, before=which.before,
        )  # fmt: skip
        answer = await events.ask(events.stub.ListWebhooks, request)
        return listed(map(shown, answer.webhooks), has_more=answer.has_more)

    @router.get("/{webhook_id}/deliveries", summary="What it was sent, and what it answered")
    async def deliveries(
        incoming: Incoming, webhook_id: str, *, which: Annotated[Page, Depends(onward)]
    ) -> Response:
        caller = await admission.caller(incoming)
        request = ListWebhookDeliveriesRequest(
            **_which(caller, webhook_id), limit=which.limit, after=which.after
        )
        answer = await events.ask(events.stub.ListWebhookDeliveries, request)
        return listed(map(shown_delivery, answer.deliveries), has_more=answer.has_more)


def _which(caller: Caller, webhook_id: str) -> dict[str, Any]:
    """For a test key no live one. Raises Problem."""
    identifier = known_id(webhook_id, "the webhook")
    return {"tenant_id": caller.tenant_id, "id": identifier, "test_only": caller.test}


def shown(webhook: Webhook) -> dict[str, object]:
    """Resend's field names."""
    found: dict[str, object] = {
        "object": "webhook",
        "id": webhook.id,
        "endpoint": webhook.url,
        "events": list(webhook.event_types),
        "status": "enabled" if webhook.enabled else "disabled",
        "disabled_reason": webhook.disabled_reason or None,
        "created_at": moment(webhook.created_at),
    }
    if webhook.signing_secret:
        found["signing_secret"] = webhook.signing_secret
    return found


def shown_delivery(delivery: WebhookDelivery) -> dict[str, object]:
    return {
        "event_id": delivery.event_id,
        "type": delivery.type,
        "state": delivery.state,
        "tries": delivery.tries,
        "status": delivery.status or None,
        "error": delivery.error or None,
        "due_at": moment(delivery.due_at),
    }
