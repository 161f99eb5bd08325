"""Messages that wait for DNS, in a queue for each tenant and domain."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kernel.database import Transaction
from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.domain.message import DueMessage
from services.router.store.queues import lock

QUEUES_MAX = 1000
MESSAGES_MAX = 1000

SELECT_DUE = """
SELECT queue_id, version FROM router.queues
WHERE cell = %s AND site = 'unresolved' AND next_at <= now() ORDER BY next_at LIMIT %s
"""

# If more queues are due, the first of each tenant come first, then the second of each: a skip scan
# over (cell, tenant_id, next_at), from tenant to tenant.
SELECT_DUE_BY_TENANT = """
WITH RECURSIVE tenants AS (
    (SELECT tenant_id FROM router.queues
     WHERE cell = %(cell)s AND site = 'unresolved' AND next_at <= now()
     ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT tenant_id FROM router.queues
            WHERE cell = %(cell)s AND site = 'unresolved' AND next_at <= now()
              AND tenant_id > tenants.tenant_id ORDER BY tenant_id LIMIT 1)
    FROM tenants WHERE tenants.tenant_id IS NOT NULL
), seen AS (
    SELECT tenant_id FROM tenants WHERE tenant_id IS NOT NULL LIMIT %(limit)s
)
SELECT found.queue_id, found.version FROM seen CROSS JOIN LATERAL (
    SELECT queue_id, version, row_number() OVER (ORDER BY next_at) AS nth FROM router.queues
    WHERE cell = %(cell)s AND site = 'unresolved' AND tenant_id = seen.tenant_id
      AND next_at <= now() ORDER BY next_at LIMIT %(each)s
) AS found
ORDER BY found.nth LIMIT %(limit)s
"""
QUEUES_PER_TENANT = 200

SELECT_DUE_MESSAGES = """
SELECT m.message_id::text, m.queue_id, extract(epoch FROM m.due_at)::float8,
    extract(epoch FROM m.expires_at)::float8, m.attempt, m.attempt_count, m.egress_id, m.ambiguous,
    NULL, m.context, m.held_at IS NOT NULL
FROM unnest(%s::text[]) AS open (queue_id) CROSS JOIN LATERAL (
    SELECT * FROM router.messages WHERE messages.queue_id = open.queue_id AND state = 'queued'
      AND due_at <= now() ORDER BY due_at LIMIT %s
) AS m
"""

RECORD_LOOKUPS = """
UPDATE router.queues SET served_at = now(), limited_by = seen.limited_by,
    available_at = now() + make_interval(secs => seen.retry_after_s),
    next_at = coalesce(now() + make_interval(secs => seen.retry_after_s), (
        SELECT greatest(min(due_at), now()) FROM router.messages
        WHERE messages.queue_id = seen.queue_id AND state = 'queued' HAVING min(due_at) IS NOT NULL
    ))
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::float8[])
    AS seen (queue_id, version, limited_by, retry_after_s)
WHERE queues.queue_id = seen.queue_id AND queues.version = seen.version
"""

# Queues of domains are many more than queues of sites, so empty ones are deleted at once.
DELETE_EMPTY = """
DELETE FROM router.queues
WHERE queue_id = ANY(%s) AND site = 'unresolved' AND next_at IS NULL AND blocked_by = ''
"""


class NextLookup(NamedTuple):
    """retry_after_s: delay until DNS is queried again; None: when the next message is due."""

    queue: ActiveQueue
    retry_after_s: float | None = None
    limited_by: str = ""


async def select_due_queues(tx: Transaction, cell: str) -> list[ActiveQueue]:
    """Queues that are due; if there are many, some of each tenant."""
    rows = await tx.rows(SELECT_DUE, (cell, QUEUES_MAX))
    if len(rows) == QUEUES_MAX:
        params = {"cell": cell, "each": QUEUES_PER_TENANT, "limit": QUEUES_MAX}
        rows = await tx.rows(SELECT_DUE_BY_TENANT, params)
    return [ActiveQueue.of(*row) for row in rows]


async def select_due_messages(
    tx: Transaction, queue_ids: Sequence[str], *, per_queue_max: int
) -> list[DueMessage]:
    """Due messages of these queues, at most per_queue_max of each."""
    if not queue_ids:
        return []
    rows = await tx.rows(SELECT_DUE_MESSAGES, (list(queue_ids), per_queue_max))
    return [DueMessage._make(row) for row in rows]


async def record_lookups(tx: Transaction, next_lookups: Iterable[NextLookup]) -> None:
    """Record when each queue has work next, unless it was activated since it was read."""
    queues = list(next_lookups)
    queue_ids = [one.queue.queue_id for one in queues]
    await lock(tx, queue_ids)
    versions = [one.queue.version for one in queues]
    retries_s = [one.retry_after_s for one in queues]
    await tx.execute(
        RECORD_LOOKUPS, (queue_ids, versions, [one.limited_by for one in queues], retries_s)
    )
    await tx.execute(DELETE_EMPTY, (queue_ids,))
