"""/v1/emails/events: search, and a stream of new events (Server-Sent Events, WHATWG HTML §9.2)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, TypeAlias, get_args

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Request as Incoming
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from contracts.events.v1.events_service_pb2 import EventFilter, StreamEventsResponse
from services.ingest.api import views
from services.ingest.api.email_events import EmailEventResource, split_types
from services.ingest.api.openapi import NO_NUL
from services.ingest.api.response_schemas import EventType
from services.ingest.api.responses import encode
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    Cursor,
    RequestedForwardPage,
    RestAccess,
    json_response,
    parse_time_parameter,
    request_of,
)
from services.ingest.domain.problem import Problem

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
Filter: TypeAlias = Annotated[str, Query(max_length=400)]
EMAIL_TYPES = "|".join(
    name.replace(".", "\\.") for name in get_args(EventType) if name.startswith("email.")
)
Types: TypeAlias = Annotated[
    str,
    Query(
        max_length=400,
        description="For example email.bounced; several with commas",
        json_schema_extra={"format": "types", "pattern": f"^({EMAIL_TYPES})(,({EMAIL_TYPES}))*$"},
    ),
]
MessageId: TypeAlias = Annotated[
    str,
    Query(
        max_length=1_000,
        description="Id of a message, or its Message-ID",
        json_schema_extra={"format": "message-id", "pattern": NO_NUL},
    ),
]


def filter_of_query(
    *,
    type: Types = "",  # noqa: A002 - the name in the query
    to: Filter = "",
    domain: Filter = "",
    tag: Filter = "",
    site: Filter = "",
    bounce_class: Filter = "",
    message_id: MessageId = "",
) -> EventFilter:
    """A dependency for routes."""
    return EventFilter(
        types=split_types(type), to=to, domain=domain, tag=tag, site=site,
        bounce_class=bounce_class, message_id=message_id,
    )  # fmt: skip


RequestedFilter: TypeAlias = Annotated[EventFilter, Depends(filter_of_query)]


def routes(access: RestAccess, events: EmailEventResource) -> APIRouter:
    router = APIRouter(prefix="/v1/emails/events", tags=["emails"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="Search the events of emails")
    async def search_email_events(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
        wanted: RequestedFilter,
        since: Filter = "",
        until: Filter = "",
    ) -> Response:
        """Newest first, of the last 30 days. domain: domain of the recipient. site: of the
        receiving server. since, until: when the event was recorded. The next
        page starts after `next`; a page may be short or empty before the end. Without
        `X-Tenant-Id`, the events of all tenants of an account."""
        caller = await access.authenticate_caller(incoming)
        found = await events.search(
            caller, wanted, limit=requested_page.limit, after=requested_page.after,
            since=parse_time_parameter(since, "since"), until=parse_time_parameter(until, "until"),
        )  # fmt: skip
        shown = [views.event_to_json(one) for one in found.events]
        page = {"object": "list", "has_more": bool(found.next), "next": found.next or None}
        return json_response({**page, "data": shown})

    _add_stream(router, access, events)
    return router


def _add_stream(router: APIRouter, access: RestAccess, events: EmailEventResource) -> None:
    @router.get("/stream", summary="Receive the events of emails as they happen")
    async def stream_events(
        incoming: Incoming, *, wanted: RequestedFilter, after: Cursor = ""
    ) -> Response:
        """Server-Sent Events: `id`, `event` (its type) and `data` (the event, as in a search).
        From now on, or from the event on that `Last-Event-ID` or `after` names, of the last 30
        days. While nothing happens, a comment comes every 15 s. At most 10 streams per tenant."""
        caller = await access.authenticate_caller(incoming)
        after = incoming.headers.get("last-event-id", "").strip() or after
        exits = AsyncExitStack()
        responses = await exits.enter_async_context(events.stream(caller, wanted, after=after))
        try:
            first = await anext(responses)
        except BaseException:
            await exits.aclose()
            raise
        if request_of(incoming).is_head:  # or it would wait for a body that is never sent
            await exits.aclose()
            return Response(headers=HEADERS, media_type="text/event-stream")
        return EventStreamResponse(exits, _sse_messages(first, responses))


class EventStreamResponse(StreamingResponse):
    """Closes the stream with the response, whatever ends it."""

    def __init__(self, exits: AsyncExitStack, messages: AsyncIterator[bytes]) -> None:
        super().__init__(messages, headers=HEADERS, media_type="text/event-stream")
        self._exits = exits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._exits:
            await super().__call__(scope, receive, send)


async def _sse_messages(
    first: StreamEventsResponse, responses: AsyncIterator[StreamEventsResponse]
) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n" + _sse_message(first)
    try:
        async for one in responses:
            yield _sse_message(one)
    except Problem:  # events is away
        yield _sse_message(StreamEventsResponse(end="unavailable"))


def _sse_message(response: StreamEventsResponse) -> bytes:
    """A message without data only sets the id from which a client goes on."""
    if response.end:
        return b"event: end\ndata: %b\n\n" % encode({"reason": response.end})
    identifier = response.position.encode()
    if not response.HasField("event"):
        return b": nothing new\nid: %b\n\n" % identifier
    event = views.event_to_json(response.event)
    lines = (identifier, response.event.type.encode(), encode(event))
    return b"id: %b\nevent: %b\ndata: %b\n\n" % lines
