"""/v1/queues: scheduled queues, with the limit that blocks each and the time when it continues; and
the cancellation of what waits in them."""

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from contracts.router.v1.router_service_pb2 import ListQueuesRequest, ScheduledQueue
from mail.address import AddressError
from services.ingest.api.emails import Emails
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    body_schema,
    decode_request_body,
    format_timestamp,
    json_response,
    list_response,
)
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Fault, invalid
from services.ingest.domain.waiting_filter import WaitingFilter


class TagFilter(RequestModel):
    """A tag with this name, and with this value if one is given."""

    name: str
    value: str | None = None


class CancelFilter(RequestModel):
    """Messages that match every given field. `sender` is an address or a domain; `all` is for every
    message that waits."""

    recipient_domain: str = ""
    sender: str = ""
    site: str = ""
    tag: TagFilter | None = None
    all: bool = False


class CancelQueued(RequestModel):
    """Messages to cancel."""

    filter: CancelFilter
    after: str = ""
    dry_run: bool = False


decode_cancel = msgspec.json.Decoder(CancelQueued).decode


def routes(access: RestAccess, clients: ServiceClients, emails: Emails) -> APIRouter:
    router = APIRouter(prefix="/v1/queues", tags=["queues"], responses=PROBLEM_RESPONSES)
    _list(router, access, clients)
    _cancel(router, access, emails)
    return router


def _list(router: APIRouter, access: RestAccess, clients: ServiceClients) -> None:
    client = clients.router

    @router.get("", summary="List scheduled queues")
    async def list_queues(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
    ) -> Response:
        """In the order of their ids; without `X-Tenant-Id`, those of all tenants of an account."""
        caller = await access.authenticate_caller(incoming)
        request = ListQueuesRequest(
            **caller.owner._asdict(),
            limit=requested_page.limit,
            after=requested_page.after,
            test_only=caller.test,
        )
        response = await client.call(client.stub.ListQueues, request)
        return list_response(map(to_json, response.queues), has_more=response.has_more)


def _cancel(router: APIRouter, access: RestAccess, emails: Emails) -> None:
    @router.post(
        "/cancel",
        openapi_extra=body_schema(CancelQueued, "a filter"),
        summary="Cancel the messages that wait",
    )
    async def cancel(incoming: Incoming) -> Response:
        """Each call reads for about a second. Repeat it with `after` set to `next` until `next` is
        null. Messages whose delivery has started are not canceled."""
        principal = await access.authenticate(incoming)
        request = await decode_request_body(incoming, decode_cancel)
        page = await emails.cancel_waiting(
            principal,
            waiting_filter(request.filter, test_only=principal.test),
            after=request.after,
            dry_run=request.dry_run,
        )
        return json_response(
            {
                "object": "cancellation",
                "matched": page.matched,
                "canceled": page.canceled,
                "next": page.next or None,
            }
        )


def waiting_filter(given: CancelFilter, *, test_only: bool) -> WaitingFilter:
    """Raises Problem, also if the filter is empty: a mistake would cancel everything."""
    try:
        found = WaitingFilter.parse(
            recipient_domain=given.recipient_domain,
            sender=given.sender,
            site=given.site,
            tag=(given.tag.name, given.tag.value) if given.tag else None,
            test_only=test_only,
        )
    except AddressError as error:
        raise invalid([Fault("#/filter", "invalid", str(error))]) from error
    if found.is_empty and not given.all:
        detail = "The filter is empty. Name what to cancel, or set all to true."
        raise invalid([Fault("#/filter", "missing_required_field", detail)])
    return found


def to_json(queue: ScheduledQueue) -> dict[str, object]:
    return {
        "object": "queue",
        "id": queue.id,
        "tenant_id": queue.tenant_id,
        "site": queue.site,
        "priority": queue.priority,
        "next_at": format_timestamp(queue.next_at),
        "limited_by": queue.limited_by or None,
        "limit_scope": queue.limit_scope or None,
        "queued": queue.queued,
    }
