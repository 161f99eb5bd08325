"""Hold queued messages of campaigns, and release them."""

from collections.abc import Sequence

from kernel.database import Transaction
from services.router.domain.campaigns import beginning_of_reason, screening_of_campaign
from services.router.domain.dispatch import MessageHold
from services.router.store.queues import mark_queues_due
from services.router.store.requests import due_times_of

RELEASED_MAX = 500  # in one transaction

HOLD = """
UPDATE router.messages AS m SET state = 'held', reason = h.reason, screening = h.screening,
    held_at = now()
FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::bytea[])
    AS h (message_id, attempt, reason, screening)
WHERE m.message_id = h.message_id AND m.state || m.attempt = 'queued' || h.attempt
RETURNING m.message_id::text
"""

# Without held_at: what follows may hold them again.
RELEASE = """
UPDATE router.messages AS m SET state = 'queued', reason = '', screening = NULL, held_at = NULL,
    due_at = greatest(due_at, now())
WHERE m.message_id IN (
    SELECT message_id FROM router.messages
    WHERE state = 'held' AND tenant_id = %s AND starts_with(reason, %s)
    ORDER BY message_id LIMIT %s FOR UPDATE SKIP LOCKED
) AND m.state = 'held'
RETURNING m.message_id::text, m.state, m.queue_id, extract(epoch FROM m.due_at)::float8
"""


async def hold(tx: Transaction, holds: Sequence[MessageHold]) -> list[MessageHold]:
    """Hold the messages that are still queued. Returns them."""
    if not holds:
        return []
    holds = sorted(holds, key=lambda one: one.row.message_id)
    rows = await tx.rows(
        HOLD,
        (
            [one.row.message_id for one in holds],
            [one.row.attempt for one in holds],
            [one.reason for one in holds],
            [screening_of_campaign(one.reason) for one in holds],
        ),
    )
    held = {message_id for (message_id,) in rows}
    return [one for one in holds if one.row.message_id in held]


async def release(tx: Transaction, cell: str, tenant_id: str, *, campaign_id: str) -> bool:
    """Queue some messages of a campaign that are held for it, in this cell. True if there may be
    more."""
    reason = beginning_of_reason(campaign_id)
    rows = await tx.rows(RELEASE, (tenant_id, reason, RELEASED_MAX))
    await mark_queues_due(tx, due_times_of(rows), lambda _: cell)
    return len(rows) == RELEASED_MAX
