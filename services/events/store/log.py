"""The log and the state of its messages. Every statement takes a batch."""

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter

from kernel.database import Transaction
from kernel.ids import uuid7_text
from services.events.domain.facts import LOGGED, Fact
from services.events.domain.state import Entry, State

STATE_COLUMNS = (
    "subject_id, tenant_id, email_id, recipient, domain, seq, told, rank, closed, closed_at,"
    " delayed_at"
)


async def begin(tx: Transaction, states: Collection[State]) -> set[str]:
    """Insert those that nobody has begun; their ids. Sorted, so that replicas do not cross."""
    ordered = sorted(states, key=attrgetter("subject_id"))
    rows = await tx.rows(
        f"INSERT INTO events.state ({STATE_COLUMNS})"  # noqa: S608 - our own names
        " SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[],"
        " %s::int[], %s::int[], %s::smallint[], %s::smallint[], %s::timestamptz[],"
        " %s::timestamptz[]) ON CONFLICT DO NOTHING RETURNING subject_id::text",
        [
            [s.subject_id for s in ordered],
            [s.tenant_id for s in ordered],
            [s.email_id for s in ordered],
            [s.recipient for s in ordered],
            [s.recipient.rpartition("@")[2] for s in ordered],
            *_changing(ordered),
        ],
    )
    return {row[0] for row in rows}


async def lock(tx: Transaction, subjects: Collection[str]) -> dict[str, State]:
    """The states, theirs until the commit."""
    rows = await tx.rows(
        "SELECT subject_id::text, tenant_id::text, email_id::text, recipient, seq, told, rank,"
        " closed, closed_at, delayed_at FROM events.state WHERE subject_id = ANY(%s::uuid[])"
        " ORDER BY subject_id FOR UPDATE",
        (list(subjects),),
    )
    return {row[0]: State(*row) for row in rows}


async def known(tx: Transaction, facts: Sequence[Fact]) -> set[str]:
    """The ids of those facts that are recorded. After `lock`, in a statement of its own, so that
    it sees what the owner of the lock before us has written."""
    subjects = [fact.subject_id for fact in facts]
    identifiers = [fact.event_id for fact in facts]
    rows = await tx.rows(
        "SELECT event_id::text FROM events.log WHERE subject_id = ANY(%s::uuid[])"
        " AND event_id = ANY(%s::uuid[])"
        " UNION ALL SELECT event_id::text FROM events.facts WHERE event_id = ANY(%s::uuid[])",
        (subjects, identifiers, identifiers),
    )
    return {row[0] for row in rows}


async def save(tx: Transaction, states: Collection[State]) -> None:
    """Write locked states back."""
    ordered = sorted(states, key=attrgetter("subject_id"))
    await tx.execute(
        "UPDATE events.state s SET seq = v.seq, told = v.told, rank = v.rank, closed = v.closed,"
        " closed_at = v.closed_at, delayed_at = v.delayed_at"
        " FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::smallint[], %s::smallint[],"
        " %s::timestamptz[], %s::timestamptz[])"
        " AS v(id, seq, told, rank, closed, closed_at, delayed_at)"
        " WHERE s.subject_id = v.id AND s.subject_id = ANY(%s::uuid[])",
        [
            ids := [s.subject_id for s in ordered],
            *_changing(ordered),
            ids,
        ],
    )


def _changing(states: Sequence[State]) -> list[list[object]]:
    return [
        [s.seq for s in states],
        [s.told for s in states],
        [int(s.rank) for s in states],
        [s.closed for s in states],
        [s.closed_at for s in states],
        [s.delayed_at for s in states],
    ]


async def append(tx: Transaction, entries: Sequence[Entry]) -> Mapping[str, str]:
    """Record entries that are new; their positions by event id."""
    positions = {entry.fact.event_id: uuid7_text() for entry in entries}
    for table, some in (
        ("log", [e for e in entries if e.fact.kind in LOGGED]),
        ("facts", [e for e in entries if e.fact.kind not in LOGGED]),
    ):
        if some:
            await _insert(tx, table, entries=some, positions=positions)
    return positions


async def _insert(
    tx: Transaction, table: str, *, entries: Sequence[Entry], positions: Mapping[str, str]
) -> None:
    await tx.execute(
        f"INSERT INTO events.{table} (subject_id, event_id, position, tenant_id,"  # noqa: S608
        " kind, seq, told, payload) SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[],"
        " %s::uuid[], %s::smallint[], %s::int[], %s::int[], %s::bytea[])"
        " ON CONFLICT DO NOTHING",
        [
            [e.fact.subject_id for e in entries],
            [e.fact.event_id for e in entries],
            [positions[e.fact.event_id] for e in entries],
            [e.fact.tenant_id for e in entries],
            [int(e.fact.kind) for e in entries],
            [e.seq for e in entries],
            [e.told for e in entries],
            [e.fact.event.SerializeToString() for e in entries],
        ],
    )


async def unclosed(tx: Transaction, message_ids: Sequence[str]) -> list[str]:
    """Those of the messages that are unknown here, or open."""
    rows = await tx.rows(
        "SELECT subject_id::text FROM events.state WHERE subject_id = ANY(%s::uuid[])"
        " AND closed > 0",
        (list(message_ids),),
    )
    closed = {row[0] for row in rows}
    return [message_id for message_id in message_ids if message_id not in closed]
