"""Final moves that no answer made, and what is told of final rows."""

from collections.abc import Sequence

from kernel.database import Transaction
from services.router.domain.facts import Asked, Final
from services.router.domain.message import CELL, Closing, Open, State

CLOSE = """
UPDATE router.messages AS m SET state = c.state, reason = c.reason, closed_at = now(),
    ask_at = NULL, assignment = NULL,
    bounce_class = CASE WHEN c.bounce_class = '' THEN m.bounce_class ELSE c.bounce_class END,
    reply = CASE WHEN c.reply = '' THEN m.reply ELSE c.reply END
FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::bytea[])
    AS c (message_id, was, attempt, state, reason, bounce_class, reply)
WHERE m.message_id = c.message_id AND m.state = c.was AND m.attempt = c.attempt
RETURNING m.message_id::text, m.state, m.reason, m.attempt, m.ambiguous, coalesce(m.reply, ''),
    m.bounce_class, extract(epoch FROM m.closed_at)::float8, m.envelope
"""

EXPIRED = """
SELECT message_id::text, state, attempt, tries, reply IS NOT NULL, ambiguous,
    coalesce(reply, ''), envelope
FROM router.messages
WHERE cell = %s AND state IN ('waiting', 'held', 'expected') AND expires_at <= now()
ORDER BY expires_at LIMIT %s
"""

FINAL = """
SELECT message_id::text, state, reason, attempt, ambiguous, coalesce(reply, ''), bounce_class,
    extract(epoch FROM closed_at)::float8, envelope
FROM router.messages WHERE message_id = ANY(%s::uuid[]) AND closed_at IS NOT NULL
"""

# A row that is locked is being answered right now: waiting for it, behind others that its answer
# waits for, would be a deadlock.
ASK = """
UPDATE router.messages AS m SET asks = m.asks + 1,
    ask_at = now() + make_interval(secs => least(%(after_s)s * 2 ^ (m.asks + 1), %(most_s)s))
WHERE m.message_id IN (
    SELECT message_id FROM router.messages WHERE cell = %(cell)s AND state = 'assigned'
      AND ask_at <= now() ORDER BY ask_at LIMIT %(rows)s FOR UPDATE SKIP LOCKED
) AND m.state = 'assigned' AND m.ask_at <= now()
RETURNING m.message_id::text, m.attempt, m.tries, m.ambiguous, m.assignment, m.envelope
"""


async def close(tx: Transaction, closings: Sequence[Closing]) -> list[Final]:
    """Those that were where they had been read, now final."""
    if not closings:
        return []
    closings = sorted(closings, key=lambda c: c.message_id)
    rows = await tx.rows(
        CLOSE,
        (
            [c.message_id for c in closings],
            [c.was.value for c in closings],
            [c.attempt for c in closings],
            [c.state.value for c in closings],
            [c.reason for c in closings],
            [c.bounce_class for c in closings],
            [c.reply for c in closings],
        ),
    )
    return [Final._make(row) for row in rows]


async def expired(tx: Transaction, *, most: int) -> list[Open]:
    """Rows out of time that nobody is sending."""
    rows = await tx.rows(EXPIRED, (CELL, most))
    return [Open._make((row[0], State(row[1]), *row[2:])) for row in rows]


async def final(tx: Transaction, ids: Sequence[str]) -> list[Final]:
    return [Final._make(row) for row in await tx.rows(FINAL, (ids,))]


async def ask_again(tx: Transaction, *, after_s: float, most_s: float, rows: int) -> list[Asked]:
    """Assigned rows that were not answered in time; the next question comes after twice as long."""
    params = {"cell": CELL, "after_s": after_s, "most_s": most_s, "rows": rows}
    return [Asked._make(row) for row in await tx.rows(ASK, params)]
