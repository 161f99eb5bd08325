"""The rows of an export, newest first, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from contracts.events.v1.events_service_pb2 import ExportFilter
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel import times
from kernel.database import RowOwner, Transaction
from kernel.ids import creation_time_of
from services.events.domain.event_filter import EventFilter
from services.events.domain.export import Export, ExportKind, email_row, event_row
from services.events.domain.log_event import STATUSES
from services.events.domain.search_columns import TYPE_NUMBERS
from services.events.domain.timeline import TimelineEntry
from services.events.store import lists, search
from services.events.store.lists import ListedEmail


@dataclass(frozen=True, slots=True)
class ExportPage:
    """next: where the next page begins; empty at the end."""

    entries: Sequence["FoundEvent | ListedEmail"]
    next: str

    @property
    def reached_at(self) -> datetime | None:
        """Of the last row; None at the end."""
        return creation_time_of(UUID(self.next)) if self.next else None


class FoundEvent(NamedTuple):
    """accepted: of the event's message, None if unknown."""

    entry: TimelineEntry
    accepted: MessageAccepted | None


def owner_of_rows(account_id: str, tenant_id: str) -> RowOwner:
    """Without a tenant: the account and all its tenants."""
    return RowOwner(tenant_id, None) if tenant_id else RowOwner(None, account_id)


def row_owner_of(export: Export) -> RowOwner:
    """Whose rows it has."""
    return owner_of_rows(export.account_id, export.tenant_id)


async def read_page(tx: Transaction, export: Export, *, after: str, limit: int) -> ExportPage:
    """after: `next` of the page before. A page of events is short if the search took too long."""
    read = _read_events if export.kind == ExportKind.EVENTS else _read_emails
    return await read(tx, export, after=after, limit=limit)


async def _read_events(tx: Transaction, export: Export, *, after: str, limit: int) -> ExportPage:
    given = export.filter
    found = await search.search_events(
        tx,
        row_owner_of(export),
        EventFilter(
            [TYPE_NUMBERS[one] for one in given.types],
            to=given.to,
            domain=given.domain,
            tag=given.tag,
            site=given.site,
            bounce_class=given.bounce_class,
            message_id=given.message_id,
            test_only=export.test,
            after=after,
            since=_bound(given, "since"),
            until=_bound(given, "until"),
        ),
        limit=limit,
    )
    messages = {entry.event.subject_id for entry in found.entries}
    accepts = await lists.load_accepted_events(tx, sorted(messages))
    events = [FoundEvent(one, accepts.get(one.event.subject_id)) for one in found.entries]
    return ExportPage(events, found.next)


async def _read_emails(tx: Transaction, export: Export, *, after: str, limit: int) -> ExportPage:
    given = export.filter
    email_filter = lists.EmailFilter(
        after=after,
        rank=STATUSES[given.status] if given.status else None,
        to=given.to,
        tag=given.tag,
        domain=given.domain,
        test_only=export.test,
        since=_bound(given, "since"),
        until=_bound(given, "until"),
    )
    owner = row_owner_of(export)
    found = await lists.list_emails(tx, owner, email_filter=email_filter, limit=limit + 1)
    following = found[limit - 1].email_id if found[limit:] else ""
    return ExportPage(found[:limit], following)


def _bound(given: ExportFilter, name: str) -> datetime | None:
    return times.clamp_timestamp(getattr(given, name)) if given.HasField(name) else None  # type: ignore[arg-type]


def row_of(found: FoundEvent | ListedEmail) -> dict[str, Any]:
    if isinstance(found, FoundEvent):
        return event_row(*found)
    return email_row(found.email_id, found.tenant_id, rank=found.rank, accepted=found.accepted)
