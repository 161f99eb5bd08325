"""Pages of emails and of events, for the role that sees one tenant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.database import Row, Transaction
from kernel.ids import MAX, NIL, first_of
from services.events.domain.facts import Kind
from services.events.domain.timeline import Line
from services.events.store.told import restored

TIMELINE_MAX = 5000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters of the list. Each one names the index that the walk goes along."""

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
        """Ids are times: exclusive bounds from cursors and dates."""
        low = [UUID(self.before)] if self.before else []
        low += [first_of(self.since)] if self.since else []
        high = [UUID(self.after)] if self.after else []
        high += [first_of(self.until)] if self.until else []
        return max(low, default=NIL), min(high, default=MAX)


async def emails(
    tx: Transaction, tenant_id: str, *, wanted: Wanted, limit: int
) -> list[tuple[str, int, MessageAccepted | None]]:
    """Newest first: email id, rank, its accept. With `before` those nearest to it.

    The walk is along one index, the narrowest filter's, and looks the others up row by row.
    """
    low, high = wanted.bounds()
    source, others = _walk(wanted)
    order = "ASC" if wanted.before else "DESC"
    rows = await tx.rows(
        "SELECT DISTINCT ON (walk.email_id) e.email_id::text, e.rank, e.message_id::text"  # noqa: S608
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
            "rank": wanted.rank,
            "to": wanted.to,
            "tag": wanted.tag,
            "domain": wanted.domain,
            "id": wanted.id or None,
        },
    )
    found = await accepts(tx, [row[2] for row in rows])
    listed = [(row[0], row[1], found.get(row[2])) for row in rows]
    return listed[::-1] if wanted.before else listed


WALKS = {
    "to": ("events.state", "recipient = %(to)s"),
    "tag": ("events.tags", "tag = %(tag)s"),
    "domain": ("events.state", "domain = %(domain)s"),
}


def _walk(wanted: Wanted) -> tuple[str, str]:
    """The table to go along, and the conditions on its rows."""
    asked = [name for name in WALKS if getattr(wanted, name)]
    ranked = " AND {}.rank = %(rank)s" if wanted.rank is not None else ""
    ranked += " AND {}.test" if wanted.test_only else ""
    ranked += " AND {}.email_id = %(id)s" if wanted.id else ""
    if not asked:
        return "events.emails", ranked.replace("{}", "walk")
    source, condition = WALKS[asked[0]]
    looked_up = [
        f" AND EXISTS (SELECT FROM {table} AS other WHERE other.tenant_id = e.tenant_id"
        f" AND other.email_id = e.email_id AND other.{one})"
        for table, one in (WALKS[name] for name in asked[1:])
    ]
    return source, "".join([f" AND walk.{condition}", *looked_up, ranked.replace("{}", "e")])


async def accepts(tx: Transaction, message_ids: Iterable[str]) -> dict[str, MessageAccepted]:
    """The accepts of messages, by message."""
    rows = await tx.rows(
        "SELECT subject_id::text, payload FROM events.log"
        " WHERE subject_id = ANY(%s::uuid[]) AND kind = %s",
        (list(message_ids), int(Kind.ACCEPTED)),
    )
    return {row[0]: MessageAccepted.FromString(row[1]) for row in rows}


COLUMNS = "event_id::text, position::text, kind, seq, told, recorded_at, payload"


async def timeline(tx: Transaction, tenant_id: str, *, email_id: str) -> list[Line]:
    """Everything about an email's messages, in no order."""
    rows = await tx.rows(
        "SELECT subject_id FROM events.state WHERE tenant_id = %s AND email_id = %s",
        (tenant_id, email_id),
    )
    found = await tx.rows(
        f"SELECT {COLUMNS} FROM events.log WHERE subject_id = ANY(%(subjects)s)"  # noqa: S608
        f" UNION ALL SELECT {COLUMNS} FROM events.facts WHERE subject_id = ANY(%(subjects)s)"
        " LIMIT %(limit)s",
        {"subjects": [row[0] for row in rows], "limit": TIMELINE_MAX},
    )
    return lines_of(found)


async def told(tx: Transaction, tenant_id: str, *, after: str, limit: int) -> list[Line]:
    """What a tenant was told, as it was recorded. The last second waits for transactions that
    began earlier and commit later: a reader that pages on misses none."""
    some = (
        f"SELECT {COLUMNS} FROM events.{{}} AS line WHERE tenant_id = %(tenant)s AND told > 0"  # noqa: S608
        " AND position > %(after)s AND recorded_at < now() - interval '1 second'"
        " ORDER BY line.position LIMIT %(limit)s"
    )
    rows = await tx.rows(
        f"SELECT * FROM (({some.format('log')}) UNION ALL ({some.format('facts')})) AS both_tables"  # noqa: S608
        " ORDER BY position LIMIT %(limit)s",
        {"tenant": tenant_id, "after": UUID(after) if after else NIL, "limit": limit},
    )
    return lines_of(rows)


def lines_of(rows: Sequence[Row]) -> list[Line]:
    lines = []
    for event_id, position, kind, seq, number, recorded_at, payload in rows:
        fact = restored(kind, event_id, payload=payload)
        lines.append(Line(fact, position, seq, number, recorded_at))
    return lines
