"""/v1/queues: scheduled queues, with the limit that blocks each and the time when it continues; and
the cancellation of what waits in them."""

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.queues import (
    CancelQueuedRequest,
    QueueResource,
    cancellation_to_json,
    to_json,
)
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    body_schema,
    decode_request_body,
    json_response,
    list_response,
    page_of,
)

decode_cancel = msgspec.json.Decoder(CancelQueuedRequest).decode


def routes(access: RestAccess, queues: QueueResource) -> APIRouter:
    router = APIRouter(prefix="/v1/queues", tags=["queues"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List scheduled queues")
    async def list_queues(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
    ) -> Response:
        """In the order of their ids; without `X-Tenant-Id`, those of all tenants of an account."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await queues.page(caller, page_of(requested_page))
        return list_response(map(to_json, found), has_more=has_more)

    @router.post(
        "/cancel",
        openapi_extra=body_schema(CancelQueuedRequest, "a filter"),
        summary="Cancel the messages that wait",
    )
    async def cancel(incoming: Incoming) -> Response:
        """Each call reads for about a second. Repeat it with `after` set to `next` until `next` is
        null. Messages whose delivery has started are not canceled."""
        principal = await access.authenticate(incoming)
        given = await decode_request_body(incoming, decode_cancel)
        return json_response(cancellation_to_json(await queues.cancel(principal, given)))

    return router
