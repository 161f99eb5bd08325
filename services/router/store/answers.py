"""Answers of delivery move assigned rows, and leave results for the owner."""

from collections.abc import Sequence
from typing import NamedTuple

from kernel.database import Transaction
from services.router.domain.answer import Move
from services.router.domain.message import CELL, Assigned

# `state || ''`: a plan that was made while nothing was assigned would rather read the whole index
# of what is assigned for every row than find it by its key.
LOAD = """
SELECT m.message_id::text, m.attempt, m.tries, extract(epoch FROM m.expires_at)::float8,
    extract(epoch FROM m.assigned_at)::float8, m.ambiguous, m.lane, m.egress_id, m.address_hash,
    extract(epoch FROM now())::float8
FROM unnest(%s::uuid[], %s::int[]) AS a (message_id, attempt)
JOIN router.messages AS m ON m.message_id = a.message_id AND m.attempt = a.attempt
WHERE m.state || '' = 'assigned'
"""

# The rows, work for their lanes, and one row of results for the owner, who alone touches windows
# and counters: [lane, egress, moment of assignment, connected, state, how many].
MOVE = """
WITH answered AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(states)s::text[], %(tries)s::int[],
        %(dues)s::float8[], %(reasons)s::text[], %(ambiguous)s::bool[], %(classes)s::text[],
        %(replies)s::bytea[], %(connected)s::bool[])
        AS a (message_id, attempt, state, tries, due, reason, ambiguous, bounce_class, reply,
              connected)
), moved AS (
    UPDATE router.messages AS m SET state = a.state, tries = a.tries, due_at = to_timestamp(a.due),
        reason = a.reason, ambiguous = a.ambiguous, bounce_class = a.bounce_class,
        reply = CASE WHEN a.reply = '' THEN m.reply ELSE a.reply END,
        ask_at = NULL, assignment = NULL,
        closed_at = CASE WHEN a.state <> 'waiting' THEN now() END
    FROM answered AS a
    WHERE m.message_id = a.message_id AND m.state || '' = 'assigned' AND m.attempt = a.attempt
    RETURNING m.message_id, m.tenant_id, m.lane, m.state, m.due_at, m.egress_id, m.assigned_at,
        a.connected
), working AS (
    INSERT INTO router.lanes AS held (lane, tenant_id, cell, site, next_at)
    SELECT lane, tenant_id, %(cell)s, split_part(lane, '/', 2), min(due_at)
    FROM moved WHERE state = 'waiting' GROUP BY 1, 2 ORDER BY 1
    ON CONFLICT (lane) DO UPDATE SET version = held.version + 1,
        next_at = CASE WHEN held.ring = '' THEN least(held.next_at, excluded.next_at) END
), told AS (
    INSERT INTO router.results (cell, outcomes)
    SELECT %(cell)s, jsonb_agg(jsonb_build_array(lane, egress_id, assigned_s, connected, state, n))
    FROM (
        SELECT lane, egress_id, extract(epoch FROM assigned_at)::float8 AS assigned_s, connected,
            state, count(*) AS n
        FROM moved GROUP BY 1, 2, 3, 4, 5
    ) AS counted HAVING count(*) > 0
)
SELECT message_id::text FROM moved
"""


class Loaded(NamedTuple):
    rows: dict[str, Assigned]
    now_s: float


async def load(tx: Transaction, ids: Sequence[str], attempts: Sequence[int]) -> Loaded:
    """The rows that still wait for exactly this answer."""
    rows = await tx.rows(LOAD, (ids, attempts))
    return Loaded({row[0]: Assigned._make(row[:-1]) for row in rows}, rows[0][-1] if rows else 0.0)


async def save(tx: Transaction, moves: Sequence[Move]) -> list[Move]:
    """Those that moved; work for their lanes and results for the owner in the same transaction."""
    if not moves:
        return []
    moves = sorted(moves, key=lambda m: m.row.message_id)
    rows = await tx.rows(
        MOVE,
        {
            "ids": [m.row.message_id for m in moves],
            "attempts": [m.row.attempt for m in moves],
            "states": [m.state.value for m in moves],
            "tries": [m.tries for m in moves],
            "dues": [m.due_s for m in moves],
            "reasons": [m.reason for m in moves],
            "ambiguous": [m.ambiguous for m in moves],
            "classes": [m.bounce_class for m in moves],
            "replies": [m.reply for m in moves],
            "connected": [m.connected for m in moves],
            "cell": CELL,
        },
    )
    ids = {message_id for (message_id,) in rows}
    return [move for move in moves if move.row.message_id in ids]


class Result(NamedTuple):
    """number answers of one egress, site, tenant and moment of assignment."""

    lane: str
    egress_id: str
    assigned_s: float
    connected: bool
    state: str
    number: int


# One statement, one snapshot: a result belongs to a row that is still assigned, or is drained.
TAKE_OVER = """
WITH drained AS (DELETE FROM router.results WHERE cell = %(cell)s RETURNING outcomes)
SELECT egress_id, split_part(lane, '/', 2), count(*), NULL FROM router.messages
WHERE cell = %(cell)s AND state = 'assigned' GROUP BY 1, 2
UNION ALL SELECT '', '', 0, outcomes FROM drained
"""


class Counted(NamedTuple):
    """In-flight assignments by egress and site."""

    egress_id: str
    site: str
    number: int


async def take_over(tx: Transaction) -> tuple[list[Counted], list[Result]]:
    """For a new owner: what is in flight, and the results of what no longer is."""
    rows = await tx.rows(TAKE_OVER, {"cell": CELL})
    counted = [Counted(*row[:3]) for row in rows if row[3] is None]
    drained = [Result(*outcome) for row in rows if row[3] is not None for outcome in row[3]]
    return counted, drained
