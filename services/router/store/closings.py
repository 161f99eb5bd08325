"""Transitions to terminal states without an attempt result, and the events of closed rows."""

from collections.abc import Sequence

from kernel.database import Transaction
from services.router.domain.events import AssignmentToRepublish, ClosedRow
from services.router.domain.message import CloseTransition, ExpiredMessage, MessageRowState

CLOSE = """
UPDATE router.messages AS m SET state = c.state, reason = c.reason, closed_at = now(),
    republish_at = NULL, assignment = NULL,
    bounce_class = CASE WHEN c.bounce_class = '' THEN m.bounce_class ELSE c.bounce_class END,
    reply = CASE WHEN c.reply = '' THEN m.reply ELSE c.reply END
FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::bytea[])
    AS c (message_id, from_state, attempt, state, reason, bounce_class, reply)
WHERE m.message_id = c.message_id AND m.state = c.from_state AND m.attempt = c.attempt
RETURNING m.message_id::text, m.state, m.reason, m.attempt, m.ambiguous, coalesce(m.reply, ''),
    m.bounce_class, extract(epoch FROM m.closed_at)::float8, m.context, m.queue_id
"""

SELECT_EXPIRED = """
SELECT message_id::text, state, attempt, attempt_count, reply IS NOT NULL, ambiguous,
    coalesce(reply, ''), context
FROM router.messages
WHERE cell = %s AND state IN ('queued', 'held', 'expected') AND expires_at <= now()
ORDER BY expires_at LIMIT %s
"""

SELECT_CLOSED = """
SELECT message_id::text, state, reason, attempt, ambiguous, coalesce(reply, ''), bounce_class,
    extract(epoch FROM closed_at)::float8, context, queue_id
FROM router.messages WHERE message_id = ANY(%s::uuid[]) AND closed_at IS NOT NULL
"""

# Another transaction that holds a row is applying its attempt result. Waiting for it could be a
# deadlock, because it may wait for rows that are locked here.
REPUBLISH = """
UPDATE router.messages AS m SET republish_count = m.republish_count + 1,
    republish_at = now() + make_interval(
        secs => least(%(after_s)s * 2 ^ (m.republish_count + 1), %(backoff_max_s)s))
WHERE m.message_id IN (
    SELECT message_id FROM router.messages WHERE cell = %(cell)s AND state = 'assigned'
      AND republish_at <= now() ORDER BY republish_at LIMIT %(rows)s FOR UPDATE SKIP LOCKED
) AND m.state = 'assigned' AND m.republish_at <= now()
RETURNING m.message_id::text, m.attempt, m.attempt_count, m.ambiguous, m.assignment, m.context
"""


async def close(tx: Transaction, closings: Sequence[CloseTransition]) -> list[ClosedRow]:
    """Close the messages that are still in the state that was read. Returns the closed ones."""
    if not closings:
        return []
    closings = sorted(closings, key=lambda c: c.message_id)
    rows = await tx.rows(
        CLOSE,
        (
            [c.message_id for c in closings],
            [c.from_state.value for c in closings],
            [c.attempt for c in closings],
            [c.state.value for c in closings],
            [c.reason for c in closings],
            [c.bounce_class for c in closings],
            [c.reply for c in closings],
        ),
    )
    return [ClosedRow._make(row) for row in rows]


async def select_expired(tx: Transaction, cell: str, *, limit: int) -> list[ExpiredMessage]:
    """Expired rows that are not assigned."""
    rows = await tx.rows(SELECT_EXPIRED, (cell, limit))
    return [ExpiredMessage._make((row[0], MessageRowState(row[1]), *row[2:])) for row in rows]


async def load_closed(tx: Transaction, ids: Sequence[str]) -> list[ClosedRow]:
    return [ClosedRow._make(row) for row in await tx.rows(SELECT_CLOSED, (ids,))]


async def republish_due(
    tx: Transaction, cell: str, *, after_s: float, backoff_max_s: float, rows: int
) -> list[AssignmentToRepublish]:
    """Select assigned rows that had no result in time, and double their delay."""
    params = {"cell": cell, "after_s": after_s, "backoff_max_s": backoff_max_s, "rows": rows}
    return [AssignmentToRepublish._make(row) for row in await tx.rows(REPUBLISH, params)]


async def any_republish_due(tx: Transaction, cell: str) -> bool:
    rows = await tx.rows(
        "SELECT 1 FROM router.messages WHERE cell = %s AND state = 'assigned'"
        " AND republish_at <= now() LIMIT 1",
        (cell,),
    )
    return bool(rows)
