"""Pages of emails and events, for the role that sees one tenant or one account."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.database import Row, Transaction
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
    tx: Transaction, tenant_id: str, *, email_filter: EmailFilter, limit: int
) -> list[ListedEmail]:
    """Newest first. With `before`, the nearest newer ones.

    The query scans the index of the narrowest filter, and checks the others row by row.
    """
    low, high = email_filter.bounds()
    source, others = _walk(email_filter)
    order = "ASC" if email_filter.before else "DESC"
    rows = await tx.rows(
        "SELECT DISTINCT ON (walk.email_id) e.email_id::text, e.rank, e.tenant_id::text,"  # noqa: S608
        " e.message_id::text"
        f" FROM {source} AS walk JOIN events.emails e USING (tenant_id, email_id)"
        " WHERE walk.tenant_id = %(tenant)s AND walk.email_id > %(low)s"
        " AND walk.email_id < %(high)s AND e.email_id > %(low)s AND e.email_id < %(high)s"
        f" {others}"
        f" ORDER BY walk.email_id {order} LIMIT %(limit)s",
        {
            "tenant": tenant_id,
            "low": low,
            "high": high,
            "limit": limit,
            "rank": email_filter.rank,
            "to": email_filter.to,
            "tag": email_filter.tag,
            "domain": email_filter.domain,
            "id": email_filter.id or None,
        },
    )
    return await _with_accepts(tx, rows, backwards=bool(email_filter.before))


async def list_account_emails(
    tx: Transaction, account_id: str, *, email_filter: EmailFilter, limit: int
) -> list[ListedEmail]:
    """Like list_emails, of all tenants of an account, without the filters of other tables.

    The index has the emails by rank: the query merges the first ones of each. So a filter by rank
    reads no others, and one index serves all lists.
    """
    low, high = email_filter.bounds()
    ranks = list(map(int, StatusRank)) if email_filter.rank is None else [email_filter.rank]
    rows = await tx.rows(
        OF_ACCOUNT.format(order="ASC" if email_filter.before else "DESC"),
        {
            "account": account_id,
            "low": low,
            "high": high,
            "limit": limit,
            "ranks": ranks,
            "tests": [True] if email_filter.test_only else [False, True],
        },
    )
    return await _with_accepts(tx, rows, backwards=bool(email_filter.before))


async def _with_accepts(
    tx: Transaction, rows: Sequence[Row], *, backwards: bool
) -> list[ListedEmail]:
    found = await load_accepted_events(tx, [row[3] for row in rows])
    listed = [ListedEmail(row[0], row[1], row[2], found.get(row[3])) for row in rows]
    return listed[::-1] if backwards else listed


OF_ACCOUNT = """
SELECT e.email_id::text, e.rank, e.tenant_id::text, e.message_id::text
FROM unnest(%(tests)s::bool[]) AS mode (test), unnest(%(ranks)s::smallint[]) AS status (rank)
CROSS JOIN LATERAL (
    SELECT email_id, rank, tenant_id, message_id FROM events.emails
    WHERE account_id = %(account)s AND emails.test = mode.test AND emails.rank = status.rank
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


def _walk(email_filter: EmailFilter) -> tuple[str, str]:
    """The table to scan, and the conditions on its rows."""
    named = [name for name in WALKS if getattr(email_filter, name)]
    ranked = " AND {}.rank = %(rank)s" if email_filter.rank is not None else ""
    ranked += " AND {}.test" if email_filter.test_only else ""
    ranked += " AND {}.email_id = %(id)s" if email_filter.id else ""
    if not named:
        return "events.emails", ranked.replace("{}", "walk")
    source, condition = WALKS[named[0]]
    looked_up = [
        f" AND EXISTS (SELECT FROM {table} AS other WHERE other.tenant_id = e.tenant_id"
        f" AND other.email_id = e.email_id AND other.{one})"
        for table, one in (WALKS[name] for name in named[1:])
    ]
    return source, "".join([f" AND walk.{condition}", *looked_up, ranked.replace("{}", "e")])


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


async def public_events(
    tx: Transaction, tenant_id: str, *, after: str, limit: int
) -> list[TimelineEntry]:
    """The public events of a tenant in recording order. Those of the last second are left out,
    because a transaction that began earlier may commit later; so a client that pages through them
    misses none."""
    some = (
        f"SELECT {COLUMNS} FROM events.{{}} AS entry"  # noqa: S608
        " WHERE tenant_id = %(tenant)s AND public_seq > 0"
        " AND position > %(after)s AND recorded_at < now() - interval '1 second'"
        " ORDER BY entry.position LIMIT %(limit)s"
    )
    rows = await tx.rows(
        f"SELECT * FROM (({some.format('log')}) UNION ALL"  # noqa: S608
        f" ({some.format('unpartitioned_log')})) AS both_tables"
        " ORDER BY position LIMIT %(limit)s",
        {"tenant": tenant_id, "after": UUID(after) if after else NIL, "limit": limit},
    )
    return timeline_entries(rows)


def timeline_entries(rows: Sequence[Row]) -> list[TimelineEntry]:
    entries = []
    for event_id, position, kind, seq, number, recorded_at, payload in rows:
        log_event = log_event_from_row(kind, event_id, payload=payload)
        entries.append(TimelineEntry(log_event, position, seq, number, recorded_at))
    return entries
