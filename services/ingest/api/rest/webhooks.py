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
    decode_optional_body,
    decode_request_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
)
from services.ingest.api.webhook_events import (
    RecoverWebhookRequest,
    WebhookEventResource,
    attempt_to_json,
    event_to_json,
    recovery_to_json,
    shown_to_json,
)
from services.ingest.api.webhooks import (
    CreateWebhookRequest,
    RotateWebhookSecretRequest,
    UpdateWebhookRequest,
    WebhookResource,
    to_json,
)

decode = msgspec.json.Decoder(CreateWebhookRequest).decode
decode_recovery = msgspec.json.Decoder(RecoverWebhookRequest).decode
decode_rotation = msgspec.json.Decoder(RotateWebhookSecretRequest).decode
decode_update = msgspec.json.Decoder(UpdateWebhookRequest).decode


def routes(
    access: RestAccess, webhooks: WebhookResource, events: WebhookEventResource
) -> APIRouter:
    router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=PROBLEM_RESPONSES)
    _add_one(router, access, webhooks)
    _add_list(router, access, webhooks)
    _add_events(router, access, events)
    _add_recovery(router, access, events)
    _add_secrets(router, access, webhooks)
    return router


def _add_one(router: APIRouter, access: RestAccess, webhooks: WebhookResource) -> None:
    schema = body_schema(CreateWebhookRequest, "a URL")

    @router.post("", status_code=201, openapi_extra=schema, summary="Add a webhook")
    async def create(incoming: Incoming) -> Response:
        """`signing_secret` verifies the requests that the endpoint receives (Standard Webhooks).
        With the key of an account and without `X-Tenant-Id`, it receives the events of all tenants
        of the account, or of `tenant_ids`, and those of the account itself."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode)
        return json_response(to_json(await webhooks.create(caller, given)), 201)

    @router.get("/{webhook_id}", summary="Get a webhook with its signing secret")
    async def get(incoming: Incoming, webhook_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return json_response(to_json(await webhooks.get(caller, webhook_id)))

    @router.patch(
        "/{webhook_id}",
        openapi_extra=body_schema(UpdateWebhookRequest, "The changes"),
        summary="Change a webhook, disable or enable it",
    )
    async def update(incoming: Incoming, webhook_id: str) -> Response:
        """What is absent does not change. Events that wait for a disabled webhook are sent once it
        is enabled."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_update)
        return json_response(to_json(await webhooks.update(caller, webhook_id, given)))

    @router.delete("/{webhook_id}", summary="Delete a webhook")
    async def delete(incoming: Incoming, webhook_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return deleted_response("webhook", await webhooks.delete(caller, webhook_id))

    @router.post("/{webhook_id}/test", status_code=202, summary="Send webhook.test to an endpoint")
    async def test(incoming: Incoming, webhook_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        check_no_key(incoming)
        event_id = await webhooks.test(caller, webhook_id)
        return json_response({"object": "event", "id": event_id}, 202)


def _add_list(router: APIRouter, access: RestAccess, webhooks: WebhookResource) -> None:
    @router.get("", summary="List webhooks")
    async def list_webhooks(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        """Newest first; without `X-Tenant-Id`, those of an account and all its tenants."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await webhooks.page(caller, page_of(requested_page))
        return list_response(map(to_json, found), has_more=has_more)


def _add_events(router: APIRouter, access: RestAccess, events: WebhookEventResource) -> None:
    @router.get("/{webhook_id}/events", summary="List the events of a webhook")
    async def list_events(
        incoming: Incoming, webhook_id: str, *, requested_page: RequestedForwardPage
    ) -> Response:
        """What was sent to it or is to be, newest first."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await events.page(caller, webhook_id, page_of(requested_page))
        return list_response(map(event_to_json, found), has_more=has_more)

    @router.get("/{webhook_id}/events/{event_id}", summary="Get an event of a webhook")
    async def get_event(incoming: Incoming, webhook_id: str, event_id: str) -> Response:
        """With its payload."""
        caller = await access.authenticate_caller(incoming)
        return json_response(shown_to_json(await events.get(caller, webhook_id, event_id)))

    @router.get(
        "/{webhook_id}/events/{event_id}/attempts", summary="List the attempts to send an event"
    )
    async def attempts(
        incoming: Incoming, webhook_id: str, event_id: str, *, requested_page: RequestedForwardPage
    ) -> Response:
        """Newest first, with the responses. The latest 50 are kept."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await events.attempts(
            caller, webhook_id, event_id=event_id, page=page_of(requested_page)
        )
        return list_response(map(attempt_to_json, found), has_more=has_more)

    @router.post("/{webhook_id}/events/{event_id}/replay", summary="Send an event again")
    async def replay(incoming: Incoming, webhook_id: str, event_id: str) -> Response:
        """With the same id, at once. 409 `conflict` if the webhook is disabled."""
        caller = await access.authenticate_caller(incoming)
        check_no_key(incoming)
        replayed = await events.replay(caller, webhook_id, event_id)
        return json_response({"object": "webhook_event", "id": replayed})


def _add_recovery(router: APIRouter, access: RestAccess, events: WebhookEventResource) -> None:
    @router.post(
        "/{webhook_id}/recover",
        status_code=202,
        openapi_extra=body_schema(RecoverWebhookRequest, "The time"),
        summary="Send the events of a time again",
    )
    async def recover(incoming: Incoming, webhook_id: str) -> Response:
        """Those that the webhook has missed, while it was disabled or before it existed, and those
        whose attempts have failed; with their ids, at most 50 a second. 409 `conflict` while
        another recovery of the webhook is in progress, or if it is disabled."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_recovery)
        return json_response(recovery_to_json(await events.recover(caller, webhook_id, given)), 202)

    @router.get("/{webhook_id}/recovery", summary="Get the latest recovery of a webhook")
    async def recovery(incoming: Incoming, webhook_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return json_response(recovery_to_json(await events.recovery(caller, webhook_id)))


def _add_secrets(router: APIRouter, access: RestAccess, webhooks: WebhookResource) -> None:
    @router.post(
        "/{webhook_id}/signing-secret/rotate",
        openapi_extra=body_schema(RotateWebhookSecretRequest, "The grace time", required=False),
        summary="Replace the signing secret of a webhook",
    )
    async def rotate(incoming: Incoming, webhook_id: str) -> Response:
        """For `grace_s`, requests have a signature by each of both secrets. 409
        `rotation_in_progress` while they have, unless `force`."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_optional_body(incoming, decode_rotation)
        return json_response(to_json(await webhooks.rotate_secret(caller, webhook_id, given)))

    @router.post(
        "/{webhook_id}/signing-secret/revoke-previous",
        summary="Stop signing with the secret before the current one",
    )
    async def revoke_previous(incoming: Incoming, webhook_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        check_no_key(incoming)
        return json_response(to_json(await webhooks.revoke_previous_secret(caller, webhook_id)))
