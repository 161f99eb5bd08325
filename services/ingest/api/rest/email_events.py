"""/v1/emails/events: search."""

from typing import Annotated, TypeAlias, get_args

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Request as Incoming

from contracts.events.v1.events_service_pb2 import EventFilter
from services.ingest.api import views
from services.ingest.api.email_events import EmailEvents, split_types
from services.ingest.api.openapi import NO_NUL
from services.ingest.api.response_schemas import EventType
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    json_response,
    parse_time_parameter,
)

Filter: TypeAlias = Annotated[str, Query(max_length=400)]
EMAIL_TYPES = "|".join(name for name in get_args(EventType) if name.startswith("email."))
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


def routes(access: RestAccess, events: EmailEvents) -> APIRouter:
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

    return router
