"""Emails, their timelines, and what is not closed."""

from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_service_pb2 import (
    FindUnclosedRequest,
    FindUnclosedResponse,
    ListEmailsRequest,
    ListEmailsResponse,
    ListEventsRequest,
    ListEventsResponse,
    LoggedEmail,
    LoggedEvent,
)
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.database import Database
from kernel.rpc import Context, Wrong, answering, identity, words
from services.events.api.asking import cursor, identifier, limit, moment, tenant
from services.events.domain.calls import public_id
from services.events.domain.catalogue import data_of, type_of
from services.events.domain.facts import Kind, Rank, is_scheduled
from services.events.domain.timeline import Line, placed
from services.events.store import lists, log

STATUSES = {rank.name.lower(): rank for rank in Rank} | {"delivery_delayed": Rank.DELAYED}
LAST_EVENTS = {rank: rank.name.lower() for rank in Rank} | {Rank.DELAYED: "delivery_delayed"}
IDS_MAX = 10_000


class EmailsApi:
    api: Database
    engine: Database

    @answering
    async def ListEmails(self, request: ListEmailsRequest, _: Context) -> ListEmailsResponse:  # noqa: N802
        """Newest first."""
        tenant_id, size = tenant(request), limit(request)
        found = filters(request)
        async with self.api.transaction(tenant_id=tenant_id) as tx:
            rows = await lists.emails(tx, tenant_id, wanted=found, limit=size + 1)
        page = rows[-size:] if found.before else rows[:size]
        return ListEmailsResponse(emails=[shown(*row) for row in page], has_more=len(rows) > size)

    @answering
    async def ListEvents(self, request: ListEventsRequest, _: Context) -> ListEventsResponse:  # noqa: N802
        """Of an email everything, by cause; of a tenant what it was told, as it was recorded."""
        tenant_id, size = tenant(request), limit(request)
        after = cursor(request.after, "after")
        async with self.api.transaction(tenant_id=tenant_id) as tx:
            if request.email_id:
                email_id = identifier(request.email_id, "email")
                rows = placed(await lists.timeline(tx, tenant_id, email_id=email_id))
                start = next((n for n, row in enumerate(rows, 1) if row.position == after), 0)
                if after and not start:
                    raise Wrong("after is not an event of this email")
                rows = rows[start : start + size + 1]
            else:
                rows = await lists.told(tx, tenant_id, after=after, limit=size + 1)
            messages = {row.fact.subject_id for row in rows if row.fact.email_id}
            accepts = await lists.accepts(tx, sorted(messages))
        events = [logged(row, accepts.get(row.fact.subject_id)) for row in rows[:size]]
        return ListEventsResponse(events=events, has_more=len(rows) > size)

    @answering
    async def FindUnclosed(self, request: FindUnclosedRequest, _: Context) -> FindUnclosedResponse:  # noqa: N802
        if len(request.message_ids) > IDS_MAX:
            raise Wrong(f"message_ids: at most {IDS_MAX}")
        ids = [identity(one, "message_ids") for one in request.message_ids]
        async with self.engine.transaction() as tx:
            return FindUnclosedResponse(message_ids=await log.unclosed(tx, ids))


def filters(request: ListEmailsRequest) -> lists.Wanted:
    if request.status and request.status not in STATUSES:
        raise Wrong(f"status must be one of {', '.join(sorted(STATUSES))}")
    return lists.Wanted(
        after=cursor(request.after, "after"),
        before=cursor(request.before, "before"),
        rank=STATUSES[request.status] if request.status else None,
        to=words(request.to, "to").lower(),
        tag=words(request.tag, "tag"),
        domain=words(request.domain, "domain").lower(),
        test_only=request.test_only,
        id=identifier(request.id, "email") if request.id else "",
        since=moment(request, "since"),
        until=moment(request, "until"),
    )


def shown(email_id: str, rank: int, accepted: MessageAccepted | None) -> LoggedEmail:
    email = LoggedEmail(id=email_id, last_event=LAST_EVENTS[Rank(rank)])
    if accepted is not None:
        envelope = accepted.envelope
        fields: dict[str, Any] = {"from": getattr(accepted, "from")}
        email = LoggedEmail(
            id=email_id,
            last_event=LAST_EVENTS[Rank(rank)],
            to=accepted.to,
            subject=accepted.subject,
            created_at=envelope.accepted_at,
            scheduled_at=envelope.due_at if is_scheduled(envelope) else None,
            tags=accepted.tags,
            **fields,
        )
    return email


def logged(line: Line, accepted: MessageAccepted | None) -> LoggedEvent:
    data = Struct()
    data.update(data_of(line.fact, accepted, told=line.told))
    created_at = Timestamp()
    created_at.FromDatetime(line.at)
    of_message = bool(line.fact.email_id)
    return LoggedEvent(
        id=public_id(line.position),
        type=type_of(line.fact, told=line.told > 0 or line.fact.kind > Kind.CLOSED),
        message_id=line.fact.subject_id if of_message else "",
        recipient=line.fact.recipient,
        seq=line.seq,
        created_at=created_at,
        data=data,
    )
