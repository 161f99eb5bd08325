"""Emails, their timelines, and open messages."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_service_pb2 import (
    Engagement,
    FindOpenRequest,
    FindOpenResponse,
    ListEmailsRequest,
    ListEmailsResponse,
    ListEventsRequest,
    ListEventsResponse,
    LoggedEmail,
    LoggedEvent,
    StreamEventsRequest,
)
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.database import Database, Transaction
from kernel.rpc import Context, RequestError, check_text, map_errors, parse_id
from services.events.api.requests import (
    owner_of,
    page_limit,
    parse_cursor,
    parse_resource_id,
    tenant_id_of,
    time_of,
)
from services.events.domain.catalog import event_data_of, event_type_of
from services.events.domain.event_filter import EventFilter
from services.events.domain.log_event import (
    LAST_EVENTS,
    STATUSES,
    EventKind,
    StatusRank,
    is_scheduled,
)
from services.events.domain.search_columns import SEARCHED_TYPES, TYPE_NUMBERS
from services.events.domain.timeline import TimelineEntry, order_timeline
from services.events.domain.webhook_attempt import public_event_id
from services.events.store import engagement, lists, log, search

IDS_MAX = 10_000
COUNTS = ("opens", "clicks", "machine_opens", "machine_clicks")


class EmailRpcs:
    tenant_database: Database
    system_database: Database

    @map_errors
    async def ListEmails(self, request: ListEmailsRequest, _: Context) -> ListEmailsResponse:  # noqa: N802
        """Newest first."""
        owner, size = owner_of(request), page_limit(request)
        email_filter = email_filter_of(request)
        if email_filter.id and owner.tenant_id is None:
            raise RequestError("name a tenant to filter by id")
        async with self.tenant_database.transaction(**owner._asdict()) as tx:
            rows = await lists.list_emails(tx, owner, email_filter=email_filter, limit=size + 1)
            engaged = [await _engagement_of(tx, row) for row in rows] if request.id else []
        page = rows[-size:] if email_filter.before else rows[:size]
        emails = [to_proto(row) for row in page]
        for email, found in zip(emails, engaged, strict=False):
            email.engagement.CopyFrom(found)
        return ListEmailsResponse(emails=emails, has_more=len(rows) > size)

    @map_errors
    async def ListEvents(self, request: ListEventsRequest, _: Context) -> ListEventsResponse:  # noqa: N802
        """The events of an email in causal order, or a search in those of a tenant or account."""
        if not request.email_id:
            return await self._search(request)
        tenant_id, size = tenant_id_of(request), page_limit(request)
        after = parse_cursor(request.after, "after")
        async with self.tenant_database.transaction(tenant_id=tenant_id) as tx:
            email_id = parse_resource_id(request.email_id, "email")
            rows = order_timeline(await lists.load_timeline(tx, tenant_id, email_id=email_id))
            start = next((n for n, row in enumerate(rows, 1) if row.position == after), 0)
            if after and not start:
                raise RequestError(
                    "after is not an event of this email. Use the id of one of its events.",
                    field="after",
                )
            rows = rows[start : start + size + 1]
            events = await events_to_proto(tx, rows[:size])
        return ListEventsResponse(events=events, has_more=len(rows) > size)

    async def _search(self, request: ListEventsRequest) -> ListEventsResponse:
        owner, size = owner_of(request), page_limit(request)
        event_filter = search_filter_of(request)
        async with self.tenant_database.transaction(**owner._asdict()) as tx:
            page = await search.search_events(tx, owner, event_filter, limit=size)
            events = await events_to_proto(tx, page.entries)
        next_id = public_event_id(page.next) if page.next else ""
        return ListEventsResponse(events=events, has_more=bool(next_id), next=next_id)

    @map_errors
    async def FindOpen(self, request: FindOpenRequest, _: Context) -> FindOpenResponse:  # noqa: N802
        if len(request.message_ids) > IDS_MAX:
            raise RequestError(f"too many message_ids. Send at most {IDS_MAX}.")
        ids = [parse_id(one, "message_ids") for one in request.message_ids]
        async with self.system_database.transaction() as tx:
            return FindOpenResponse(message_ids=await log.find_open(tx, ids))


def email_filter_of(request: ListEmailsRequest) -> lists.EmailFilter:
    if request.status and request.status not in STATUSES:
        raise RequestError(
            f"unknown status {request.status[:80]!r}. Use one of {', '.join(sorted(STATUSES))}.",
            field="status",
        )
    return lists.EmailFilter(
        after=parse_cursor(request.after, "after"),
        before=parse_cursor(request.before, "before"),
        rank=STATUSES[request.status] if request.status else None,
        to=check_text(request.to, "to").lower(),
        tag=check_text(request.tag, "tag"),
        domain=check_text(request.domain, "domain").lower(),
        test_only=request.test_only,
        id=parse_resource_id(request.id, "email") if request.id else "",
        since=time_of(request, "since"),
        until=time_of(request, "until"),
    )


def search_filter_of(request: ListEventsRequest) -> EventFilter:
    """Raises RequestError."""
    return replace(
        event_filter_of(request),
        after=parse_cursor(request.after, "after"),
        since=time_of(request, "since"),
        until=time_of(request, "until"),
    )


def event_filter_of(request: ListEventsRequest | StreamEventsRequest) -> EventFilter:
    """Raises RequestError."""
    given = request.filter
    if unknown := sorted(set(given.types) - TYPE_NUMBERS.keys()):
        raise RequestError(
            f"unknown type {unknown[0][:80]!r}. Use one of {', '.join(SEARCHED_TYPES)}.",
            field="type",
        )
    return EventFilter(
        types=[TYPE_NUMBERS[one] for one in given.types],
        to=check_text(given.to, "to").lower(),
        domain=check_text(given.domain, "domain").lower(),
        tag=check_text(given.tag, "tag"),
        site=check_text(given.site, "site").lower(),
        bounce_class=check_text(given.bounce_class, "bounce_class").lower(),
        message_id=check_text(given.message_id, "message_id").strip(),
        test_only=request.test_only,
    )


async def events_to_proto(tx: Transaction, entries: Sequence[TimelineEntry]) -> list[LoggedEvent]:
    """With what the accepts of their messages tell."""
    messages = {entry.event.subject_id for entry in entries if entry.event.email_id}
    accepts = await lists.load_accepted_events(tx, sorted(messages))
    return [event_to_proto(entry, accepts.get(entry.event.subject_id)) for entry in entries]


async def _engagement_of(tx: Transaction, row: lists.ListedEmail) -> Engagement:
    found = await engagement.engagement_of_email(tx, row.tenant_id, row.email_id)
    counts = {name: getattr(found, name) for name in COUNTS}
    return Engagement(
        **counts,
        first_opened_at=_time_or_none(found.first_opened_ms),
        first_clicked_at=_time_or_none(found.first_clicked_ms),
        unsubscribed_at=_time_or_none(found.unsubscribed_ms),
    )


def _time_or_none(moment_ms: int) -> Timestamp | None:
    stamp = Timestamp()
    stamp.FromMilliseconds(moment_ms)
    return stamp if moment_ms else None


def to_proto(row: lists.ListedEmail) -> LoggedEmail:
    accepted, last_event = row.accepted, LAST_EVENTS[StatusRank(row.rank)]
    email = LoggedEmail(id=row.email_id, tenant_id=row.tenant_id, last_event=last_event)
    if accepted is not None:
        context = accepted.context
        fields: dict[str, Any] = {"from": getattr(accepted, "from")}
        email = LoggedEmail(
            id=row.email_id,
            tenant_id=row.tenant_id,
            last_event=last_event,
            to=accepted.to,
            subject=accepted.subject,
            created_at=context.accepted_at,
            scheduled_at=context.due_at if is_scheduled(context) else None,
            tags=accepted.tags,
            **fields,
        )
    return email


def event_to_proto(entry: TimelineEntry, accepted: MessageAccepted | None) -> LoggedEvent:
    data = Struct()
    data.update(event_data_of(entry.event, accepted, public_seq=entry.public_seq))
    created_at = Timestamp()
    created_at.FromDatetime(entry.at)
    has_message = bool(entry.event.email_id)
    return LoggedEvent(
        id=public_event_id(entry.position),
        type=event_type_of(
            entry.event, is_public=entry.public_seq > 0 or entry.event.kind > EventKind.CLOSED
        ),
        message_id=entry.event.subject_id if has_message else "",
        recipient=entry.event.recipient,
        seq=entry.seq,
        created_at=created_at,
        data=data,
        tenant_id=entry.event.tenant_id,
    )
