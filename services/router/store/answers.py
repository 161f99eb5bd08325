"""Answers of delivery move assigned rows, and leave results for the owner."""

from collections.abc import Sequence
from typing import NamedTuple

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from kernel.database import Transaction
from services.router.domain.answer import Move, Moved, is_ambiguous
from services.router.domain.message import CELL, Assigned

# `state || ''`: a plan that was made while nothing was assigned would rather read the whole index
# of what is assigned for every row than find it by its key. `first` and `last`: then a statement
# opens the days of its messages alone.
LOAD = """
SELECT m.message_id::text, m.attempt, m.tries, extract(epoch FROM m.expires_at)::float8,
    extract(epoch FROM now())::float8
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[]) AS a (message_id, attempt)
JOIN router.messages AS m ON m.message_id = a.message_id AND m.attempt = a.attempt
WHERE m.state || '' = 'assigned' AND m.message_id BETWEEN %(first)s::uuid AND %(last)s::uuid
"""

# The rows, work for their lanes, and one row of results for the owner, who alone touches windows
# and counters: [lane, egress, moment of assignment, connected, state, how many].
MOVE = """
WITH answered AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(states)s::text[], %(tried)s::int[],
        %(dues)s::float8[], %(reasons)s::text[], %(ambiguous)s::bool[], %(classes)s::text[],
        %(replies)s::bytea[], %(connected)s::bool[])
        AS a (message_id, attempt, state, tried, due, reason, ambiguous, bounce_class, reply,
              connected)
), moved AS (
    UPDATE router.messages AS m SET state = a.state, tries = m.tries + a.tried,
        due_at = greatest(to_timestamp(a.due), now()), reason = a.reason,
        ambiguous = m.ambiguous OR a.ambiguous, bounce_class = a.bounce_class,
        reply = CASE WHEN a.reply = '' THEN m.reply ELSE a.reply END,
        ask_at = NULL, assignment = NULL,
        closed_at = CASE WHEN a.state <> 'waiting' THEN now() END
    FROM answered AS a
    WHERE m.message_id = a.message_id AND m.state || '' = 'assigned' AND m.attempt = a.attempt
        AND m.message_id BETWEEN %(first)s::uuid AND %(last)s::uuid
    RETURNING m.message_id, m.tenant_id, m.lane, m.state, m.due_at, m.egress_id, m.assigned_at,
        m.attempt, m.tries, m.ambiguous, a.connected
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
SELECT message_id::text, attempt, tries, ambiguous, extract(epoch FROM now())::float8 FROM moved
"""


class Loaded(NamedTuple):
    rows: dict[str, Assigned]
    now_s: float


async def load(tx: Transaction, events: Sequence[DeliveryAttempted]) -> Loaded:
    """The rows that still wait for exactly these answers."""
    ids = [event.message_id for event in events]
    rows = await tx.rows(
        LOAD, {"ids": ids, "attempts": [event.attempt for event in events], **span(ids)}
    )
    return Loaded({row[0]: Assigned._make(row[:-1]) for row in rows}, rows[0][-1] if rows else 0.0)


async def save(tx: Transaction, moves: Sequence[Move]) -> list[tuple[Move, Moved]]:
    """Those that moved; work for their lanes and results for the owner in the same transaction."""
    if not moves:
        return []
    moves = sorted(moves, key=lambda m: m.event.message_id)
    events = [move.event for move in moves]
    ids = [event.message_id for event in events]
    rows = await tx.rows(
        MOVE,
        {
            "ids": ids,
            **span(ids),
            "attempts": [event.attempt for event in events],
            "states": [move.state.value for move in moves],
            "tried": [move.tried for move in moves],
            "dues": [move.due_s for move in moves],
            "reasons": [move.reason for move in moves],
            "ambiguous": [is_ambiguous(event) for event in events],
            "classes": [event.bounce_class for event in events],
            "replies": [move.reply for move in moves],
            "connected": [event.connected for event in events],
            "cell": CELL,
        },
    )
    moved = {(row[0], row[1]): Moved._make(row) for row in rows}
    keys = [(event.message_id, event.attempt) for event in events]
    return [(move, moved[key]) for move, key in zip(moves, keys, strict=True) if key in moved]


def span(ids: Sequence[str]) -> dict[str, str]:
    """The first and the last of these ids."""
    return {"first": min(ids), "last": max(ids)}


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
