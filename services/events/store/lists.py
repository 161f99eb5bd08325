"""Pages of emails and events, for the role that sees one tenant or one account."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.database import Row, RowOwner, Transaction
from kernel.ids import MAX, NIL, lower_bound_at
from services.events.domain.log_event import EventKind, StatusRank
from services.events.domain.timeline import TimelineEntry
from services.events.store.payloads import log_event_from_row

TIMELINE_MAX = 5000


@dataclass(frozen=True, slots=True)
class EmailFilter:
    """The filters of a list of emails. The narrowest selects the index that is scanned."""

    after: str = ""
    before: str = ""
    rank: int | None = None
    to: str = ""
    tag: str = ""
    domain: str = ""
    test_only: bool = False
    id: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def named(self) -> list[str]:
        """The filters of other tables, the narrowest first."""
        return [name for name in WALKS if getattr(self, name)]

    def bounds(self) -> tuple[UUID, UUID]:
        """Exclusive bounds of email ids, which are ordered by time, from cursors and dates."""
        low = [UUID(self.before)] if self.before else []
        low += [lower_bound_at(self.since)] if self.since else []
        high = [UUID(self.after)] if self.after else []
        high += [lower_bound_at(self.until)] if self.until else []
        return max(low, default=NIL), min(high, default=MAX)


class ListedEmail(NamedTuple):
    """accepted: None if it is not in the log yet."""

    email_id: str
    rank: int
    tenant_id: str
    accepted: MessageAccepted | None


async def list_emails(
    tx: Transaction, owner: RowOwner, *, email_filter: EmailFilter, limit: int
) -> list[ListedEmail]:
    """Of a tenant, or of all tenants of an account. Newest first. With `before`, the nearest newer
    ones.

    The query scans the index of the narrowest filter, and checks the others row by row. Without a
    filter of another table, an account's emails come from an index by rank: the query merges the
    first ones of each rank. So a filter by rank reads no others, and one index serves all lists.
    """
    sql, values = _statement(owner, email_filter)
    low, high = email_filter.bounds()
    rows = await tx.rows(
        sql.format(order="ASC" if email_filter.before else "DESC"),
        {
            "owner": owner.tenant_id or owner.account_id,
            "low": low,
            "high": high,
            "limit": limit,
            "rank": email_filter.rank,
            "to": email_filter.to,
            "tag": email_filter.tag,
            "domain": email_filter.domain,
            "id": email_filter.id or None,
            **values,
        },
    )
    return await _with_accepts(tx, rows, backwards=bool(email_filter.before))


def _statement(owner: RowOwner, email_filter: EmailFilter) -> tuple[str, dict[str, object]]:
    """With {order}, and its own parameters."""
    if owner.tenant_id is None and not email_filter.named:
        return MERGED, _modes_and_ranks(email_filter)
    column = "account_id" if owner.tenant_id is None else "tenant_id"
    parts = {**_walk(email_filter)._asdict(), "owner": column, "order": "{order}"}
    return FILTERED.format(**parts), {}


def _modes_and_ranks(email_filter: EmailFilter) -> dict[str, object]:
    ranks = list(map(int, StatusRank)) if email_filter.rank is None else [email_filter.rank]
    return {"ranks": ranks, "tests": [True] if email_filter.test_only else [False, True]}


async def _with_accepts(
    tx: Transaction, rows: Sequence[Row], *, backwards: bool
) -> list[ListedEmail]:
    found = await load_accepted_events(tx, [row[3] for row in rows])
    listed = [ListedEmail(row[0], row[1], row[2], found.get(row[3])) for row in rows]
    return listed[::-1] if backwards else listed


# LATERAL keeps the estimate of rows right: the planner reads the index until the page is full.
FILTERED = """
SELECT DISTINCT ON (walk.email_id) walk.email_id::text, e.rank, walk.tenant_id::text,
    e.message_id::text
FROM {source} AS walk CROSS JOIN LATERAL (
    SELECT e.rank, e.message_id FROM events.emails e
    WHERE e.tenant_id = walk.tenant_id AND e.email_id = walk.email_id
        AND e.email_id > %(low)s AND e.email_id < %(high)s {of_email} OFFSET 0
) AS e
WHERE walk.{owner} = %(owner)s AND walk.email_id > %(low)s AND walk.email_id < %(high)s {of_walk}
ORDER BY walk.email_id {order} LIMIT %(limit)s
"""
MERGED = """
SELECT e.email_id::text, e.rank, e.tenant_id::text, e.message_id::text
FROM unnest(%(tests)s::bool[]) AS mode (test), unnest(%(ranks)s::smallint[]) AS status (rank)
CROSS JOIN LATERAL (
    SELECT email_id, rank, tenant_id, message_id FROM events.emails
    WHERE account_id = %(owner)s AND emails.test = mode.test AND emails.rank = status.rank
        AND email_id > %(low)s AND email_id < %(high)s
    ORDER BY email_id {order} LIMIT %(limit)s
) AS e
ORDER BY e.email_id {order} LIMIT %(limit)s
"""


WALKS = {
    "to": ("events.state", "recipient = %(to)s"),
    "tag": ("events.tags", "tag = %(tag)s"),
    "domain": ("events.state", "domain = %(domain)s"),
}


class EmailScanSql(NamedTuple):
    """source: the table to scan. of_walk, of_email: conditions on its rows, and on their emails."""

    source: str
    of_walk: str
    of_email: str


def _walk(email_filter: EmailFilter) -> EmailScanSql:
    ranked = " AND {}.rank = %(rank)s" if email_filter.rank is not None else ""
    ranked += " AND {}.test" if email_filter.test_only else ""
    ranked += " AND {}.email_id = %(id)s" if email_filter.id else ""
    if not email_filter.named:
        return EmailScanSql("events.emails", ranked.replace("{}", "walk"), "")
    first, *others = email_filter.named
    source, condition = WALKS[first]
    looked_up = [
        f" AND EXISTS (SELECT FROM {table} AS other WHERE other.tenant_id = e.tenant_id"
        f" AND other.email_id = e.email_id AND other.{one})"
        for table, one in (WALKS[name] for name in others)
    ]
    of_email = "".join([*looked_up, ranked.replace("{}", "e")])
    return EmailScanSql(source, f" AND walk.{condition}", of_email)


async def load_accepted_events(
    tx: Transaction, message_ids: Iterable[str]
) -> dict[str, MessageAccepted]:
    """The accepts of messages, by message."""
    rows = await tx.rows(
        "SELECT subject_id::text, payload FROM events.log"
        " WHERE subject_id = ANY(%s::uuid[]) AND kind = %s",
        (list(message_ids), int(EventKind.ACCEPTED)),
    )
    return {row[0]: MessageAccepted.FromString(row[1]) for row in rows}


COLUMNS = "event_id::text, position::text, kind, seq, public_seq, recorded_at, payload"


async def load_timeline(tx: Transaction, tenant_id: str, *, email_id: str) -> list[TimelineEntry]:
    """All events of an email's messages, unordered."""
    rows = await tx.rows(
        "SELECT subject_id FROM events.state WHERE tenant_id = %s AND email_id = %s",
        (tenant_id, email_id),
    )
    found = await tx.rows(
        f"SELECT {COLUMNS} FROM events.log WHERE subject_id = ANY(%(subjects)s)"  # noqa: S608
        f" UNION ALL SELECT {COLUMNS} FROM events.unpartitioned_log"
        " WHERE subject_id = ANY(%(subjects)s)"
        " LIMIT %(limit)s",
        {"subjects": [row[0] for row in rows], "limit": TIMELINE_MAX},
    )
    return timeline_entries(found)


def timeline_entries(rows: Sequence[Row]) -> list[TimelineEntry]:
    entries = []
    for event_id, position, kind, seq, number, recorded_at, payload in rows:
        log_event = log_event_from_row(kind, event_id, payload=payload)
        entries.append(TimelineEntry(log_event, position, seq, number, recorded_at))
    return entries
