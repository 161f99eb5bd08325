"""/v1/webhooks: endpoints that receive events."""

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RequestedPage,
    RestAccess,
    body_schema,
    check_no_key,
    decode_creation_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
)
from services.ingest.api.webhooks import NewWebhook, Webhooks, delivery_to_json, to_json

decode = msgspec.json.Decoder(NewWebhook).decode


def routes(access: RestAccess, webhooks: Webhooks) -> APIRouter:
    router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=PROBLEM_RESPONSES)
    _add_one(router, access, webhooks)
    _add_lists(router, access, webhooks)
    return router


def _add_one(router: APIRouter, access: RestAccess, webhooks: Webhooks) -> None:
    @router.post(
        "", status_code=201, openapi_extra=body_schema(NewWebhook, "a URL"), summary="Add a webhook"
    )
    async def create(incoming: Incoming) -> Response:
        """`signing_secret` verifies the requests that the endpoint receives (Standard Webhooks)."""
        principal = await access.authenticate(incoming)
        given = await decode_creation_body(incoming, decode)
        return json_response(to_json(await webhooks.create(principal, given)), 201)

    @router.get("/{webhook_id}", summary="Get a webhook with its signing secret")
    async def get(incoming: Incoming, webhook_id: str) -> Response:
        principal = await access.authenticate(incoming)
        return json_response(to_json(await webhooks.get(principal, webhook_id)))

    @router.delete("/{webhook_id}", summary="Delete a webhook")
    async def delete(incoming: Incoming, webhook_id: str) -> Response:
        principal = await access.authenticate(incoming)
        return deleted_response("webhook", await webhooks.delete(principal, webhook_id))

    @router.post("/{webhook_id}/test", status_code=202, summary="Send webhook.test to an endpoint")
    async def test(incoming: Incoming, webhook_id: str) -> Response:
        principal = await access.authenticate(incoming)
        check_no_key(incoming)
        event_id = await webhooks.test(principal, webhook_id)
        return json_response({"object": "event", "id": event_id}, 202)


def _add_lists(router: APIRouter, access: RestAccess, webhooks: Webhooks) -> None:
    @router.get("", summary="List webhooks")
    async def list_webhooks(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        principal = await access.authenticate(incoming)
        found, has_more = await webhooks.page(principal, page_of(requested_page))
        return list_response(map(to_json, found), has_more=has_more)

    @router.get("/{webhook_id}/deliveries", summary="List the deliveries of a webhook")
    async def deliveries(
        incoming: Incoming,
        webhook_id: str,
        *,
        requested_page: RequestedForwardPage,
    ) -> Response:
        principal = await access.authenticate(incoming)
        found, has_more = await webhooks.deliveries(principal, webhook_id, page_of(requested_page))
        return list_response(map(delivery_to_json, found), has_more=has_more)
