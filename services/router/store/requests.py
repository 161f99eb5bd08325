"""What tenants ask for, by the api role: every statement names the tenant, and row-level security
shows its rows alone. What the audit asks for, by the engine role."""

from collections.abc import Sequence
from typing import NamedTuple

from kernel.database import Transaction
from services.router.domain.arrival import Arrival
from services.router.domain.facts import Final
from services.router.domain.message import CELL, SANDBOX, Lane, Open, State
from services.router.store.lanes import Work, give_work

STATES = """
SELECT m.message_id::text, m.state, m.reason, extract(epoch FROM m.due_at)::float8, m.attempt,
    m.tries, m.ambiguous, coalesce(m.reply, ''), m.lane, m.egress_id, coalesce(l.binding, ''),
    coalesce(extract(epoch FROM l.release_at)::float8, 0), m.due_at <= now()
FROM router.messages AS m LEFT JOIN router.lanes AS l ON l.lane = m.lane
WHERE m.message_id = ANY(%s::uuid[]) AND m.tenant_id = %s
"""

FINAL = """
message_id::text, state, reason, attempt, ambiguous, coalesce(reply, ''), bounce_class,
extract(epoch FROM closed_at)::float8, envelope
"""

INSERT_FINAL = """
INSERT INTO router.messages AS held (message_id, tenant_id, email_id, cell, lane, state, reason,
    due_at, expires_at, address_hash, test, envelope, closed_at)
SELECT message_id, tenant_id, email_id, %(cell)s, lane, %(state)s, %(reason)s,
    to_timestamp(due), to_timestamp(expires), address_hash, test, envelope, now()
FROM unnest(%(ids)s::uuid[], %(tenants)s::uuid[], %(emails)s::uuid[], %(lanes)s::text[],
    %(dues)s::float8[], %(expires)s::float8[], %(hashes)s::bytea[], %(tests)s::bool[],
    %(envelopes)s::bytea[])
    AS a (message_id, tenant_id, email_id, lane, due, expires, address_hash, test, envelope)
ORDER BY message_id
"""

CANCEL = f"""{INSERT_FINAL}
ON CONFLICT (message_id) DO UPDATE
    SET state = excluded.state, reason = excluded.reason, closed_at = now()
    WHERE held.state IN ('expected', 'waiting', 'held') AND held.tenant_id = excluded.tenant_id
RETURNING {FINAL}
"""  # noqa: S608 - our own words

FAIL = f"{INSERT_FINAL} ON CONFLICT DO NOTHING RETURNING {FINAL}"

RESCHEDULE = """
INSERT INTO router.messages AS held (message_id, tenant_id, email_id, cell, lane, state, reason,
    due_at, expires_at, address_hash, test, envelope)
SELECT message_id, tenant_id, email_id, %(cell)s, lane, 'expected', '', to_timestamp(%(due)s),
    to_timestamp(expires), address_hash, test, envelope
FROM unnest(%(ids)s::uuid[], %(tenants)s::uuid[], %(emails)s::uuid[], %(lanes)s::text[],
    %(expires)s::float8[], %(hashes)s::bytea[], %(tests)s::bool[], %(envelopes)s::bytea[])
    AS a (message_id, tenant_id, email_id, lane, expires, address_hash, test, envelope)
ORDER BY message_id
ON CONFLICT (message_id) DO UPDATE SET due_at = excluded.due_at, expires_at = excluded.expires_at
    WHERE held.state IN ('expected', 'waiting', 'held') AND held.tenant_id = excluded.tenant_id
RETURNING message_id::text, state, lane, extract(epoch FROM due_at)::float8
"""

RELEASE = """
UPDATE router.messages SET state = 'waiting', reason = '', due_at = greatest(due_at, now())
WHERE message_id = ANY(%s::uuid[]) AND tenant_id = %s AND state = 'held'
RETURNING message_id::text, state, lane, extract(epoch FROM due_at)::float8
"""

LANES = """
SELECT l.lane, l.site, coalesce(extract(epoch FROM coalesce(l.next_at, l.release_at))::float8, 0),
    l.binding, (SELECT count(*) FROM (
        SELECT 1 FROM router.messages AS m
        WHERE m.lane = l.lane AND m.state = 'waiting' LIMIT 10000) AS counted)
FROM router.lanes AS l
WHERE l.tenant_id = %s AND l.lane > %s AND (l.site = %s OR NOT %s) ORDER BY l.lane LIMIT %s
"""

AUDIT = """
SELECT message_id::text, state, attempt, tries, reply IS NOT NULL, ambiguous, coalesce(reply, ''),
    envelope, extract(epoch FROM expires_at)::float8, expires_at <= now(), tenant_id::text,
    extract(epoch FROM now())::float8
FROM router.messages WHERE message_id = ANY(%s::uuid[])
"""


class Seen(NamedTuple):
    """A row as its tenant may see it, with what its lane waits for."""

    message_id: str
    state: str
    reason: str
    due_s: float
    attempt: int
    tries: int
    ambiguous: bool
    reply: bytes
    lane: str
    egress_id: str
    binding: str
    release_s: float
    is_due: bool


class LaneSeen(NamedTuple):
    lane: str
    site: str
    next_s: float
    binding: str
    waiting: int  # counted up to 10,000


class Audited(NamedTuple):
    row: Open
    expires_s: float
    expired: bool
    tenant_id: str
    now_s: float


async def states(tx: Transaction, tenant_id: str, ids: Sequence[str]) -> list[Seen]:
    return [Seen._make(row) for row in await tx.rows(STATES, (ids, tenant_id))]


async def cancel(tx: Transaction, arrivals: Sequence[Arrival]) -> list[Final]:
    """Those that were not on their way yet, now final."""
    return await finals(tx, CANCEL, arrivals, state=State.CANCELLED, reason="cancelled")


async def reschedule(tx: Transaction, arrivals: Sequence[Arrival], *, due_s: float) -> list[str]:
    """Those that were not on their way yet, due at another time."""
    rows = await tx.rows(RESCHEDULE, {**columns(arrivals), "due": due_s})
    await give_work(tx, work_of(rows))
    return [row[0] for row in rows]


async def release(tx: Transaction, tenant_id: str, ids: Sequence[str]) -> list[str]:
    rows = await tx.rows(RELEASE, (ids, tenant_id))
    await give_work(tx, work_of(rows))
    return [row[0] for row in rows]


def work_of(rows: Sequence[tuple[str, str, str, float]]) -> list[Work]:
    return [Work(Lane.of(lane), due_s) for _, state, lane, due_s in rows if state == State.WAITING]


def columns(arrivals: Sequence[Arrival]) -> dict[str, object]:
    return {
        "cell": CELL,
        "ids": [a.message_id for a in arrivals],
        "tenants": [a.tenant_id for a in arrivals],
        "emails": [a.email_id for a in arrivals],
        "lanes": [a.lane for a in arrivals],
        "expires": [a.expires_s for a in arrivals],
        "hashes": [a.address_hash for a in arrivals],
        "tests": [a.test for a in arrivals],
        "envelopes": [a.envelope for a in arrivals],
    }


async def lanes_of(
    tx: Transaction, tenant_id: str, *, after: str, limit: int, test_only: bool
) -> list[LaneSeen]:
    rows = await tx.rows(LANES, (tenant_id, after, SANDBOX, test_only, limit))
    return [LaneSeen._make(row) for row in rows]


async def audit(tx: Transaction, ids: Sequence[str]) -> dict[str, Audited]:
    """Rows by id, whatever their state. Engine role."""
    rows = await tx.rows(AUDIT, (ids,))
    return {
        row[0]: Audited(Open._make((row[0], State(row[1]), *row[2:8])), *row[8:]) for row in rows
    }


async def now_s(tx: Transaction) -> float:
    """The database's clock, as Unix time."""
    [(moment,)] = await tx.rows("SELECT extract(epoch FROM now())::float8")
    return float(moment)


async def insert_failed(tx: Transaction, arrivals: Sequence[Arrival]) -> list[Final]:
    """Messages that never came here and are out of time, now final. Engine role."""
    if not arrivals:
        return []
    return await finals(tx, FAIL, arrivals, state=State.FAILED, reason="expired")


async def finals(
    tx: Transaction, sql: str, arrivals: Sequence[Arrival], *, state: State, reason: str
) -> list[Final]:
    dues = [a.due_s for a in arrivals]
    params = {**columns(arrivals), "dues": dues, "state": state.value, "reason": reason}
    return [Final._make(row) for row in await tx.rows(sql, params)]
