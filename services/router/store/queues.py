"""Scheduled queues: mark them due, block and unblock them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from kernel import ids
from kernel.database import Transaction
from services.router.domain.blocking_scopes import QueuesToUnblock
from services.router.domain.cells import CellOf, first_cell, label_of
from services.router.domain.counters import CounterRow
from services.router.domain.deficit_round_robin import ActiveQueue, BlockedQueue
from services.router.domain.ledger import LimitScope
from services.router.domain.message import ScheduledQueue
from services.router.domain.round import ServedQueue

# A queue is active when it has work now. A blocked queue is unblocked only by its scope; until then
# new work only raises the version.
# New work in a queue, whichever statement adds it: its row is created, or lowered to the new due
# time. Queued rows that are due before first_due_at would never be read.
ADD_WORK = """
ON CONFLICT (queue_id) DO UPDATE SET version = stored.version + 1,
    next_at = CASE WHEN stored.blocked_by = '' THEN least(stored.next_at, excluded.next_at) END,
    active = stored.blocked_by = '' AND (stored.active OR excluded.active),
    first_due_at = least(stored.first_due_at, excluded.first_due_at)
"""

ACTIVATE = f"""
INSERT INTO router.queues AS stored (queue_id, tenant_id, cell, site, next_at, active, first_due_at)
SELECT queue_id, tenant_id, cell, site, to_timestamp(min(due)), to_timestamp(min(due)) <= now(),
    to_timestamp(min(due))
FROM unnest(%(queue_ids)s::text[], %(tenants)s::uuid[], %(sites)s::text[], %(dues)s::float8[],
    %(cells)s::text[]) AS work (queue_id, tenant_id, site, due, cell)
GROUP BY 1, 2, 3, 4 ORDER BY 1
{ADD_WORK}
"""  # noqa: S608 - constants only

# If more queues are active than one tick reads, some of each tenant are read: a skip scan over
# (cell, tenant_id, next_at), from one tenant with an active queue to the next. It begins after the
# last tenant of the previous tick, so that it reads a bounded number of tenants.
ACTIVE_BY_TENANT = """
WITH RECURSIVE tenants AS (
    (SELECT tenant_id FROM router.queues
     WHERE cell = %(cell)s AND site <> 'unresolved' AND active AND tenant_id > %(after)s
     ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT tenant_id FROM router.queues
            WHERE cell = %(cell)s AND site <> 'unresolved' AND active
              AND tenant_id > tenants.tenant_id ORDER BY tenant_id LIMIT 1)
    FROM tenants WHERE tenants.tenant_id IS NOT NULL
), seen AS (
    SELECT tenant_id FROM tenants WHERE tenant_id IS NOT NULL LIMIT %(limit)s
)
SELECT found.queue_id, found.version, extract(epoch FROM found.first_due_at)::float8
FROM seen CROSS JOIN LATERAL (
    SELECT queue_id, version, next_at, first_due_at, row_number() OVER (ORDER BY next_at) AS nth
    FROM (
        SELECT queue_id, version, next_at, first_due_at FROM router.queues
        WHERE cell = %(cell)s AND site <> 'unresolved' AND tenant_id = seen.tenant_id
          AND active ORDER BY next_at LIMIT %(each)s
    ) AS oldest
) AS found
ORDER BY found.nth, found.next_at LIMIT %(limit)s
"""
QUEUES_PER_TENANT = 10
FIRST_TENANT = str(ids.NIL)
BLOCKED_PAGE_ROWS = 2_000
UNBLOCKED_MAX = 1_000  # queues of changed tenants, and queues that become due, in one tick

# Counters commit with the assignments. They are absolute, because only the scheduler writes them.
RECORD_SERVED = """
WITH counted AS (
    INSERT INTO router.counters AS stored (cell, scope, window_key, value, expires_at)
    SELECT cell, scope, window_key, value, to_timestamp(expires_s)
    FROM unnest(%(scopes)s::text[], %(windows)s::text[], %(values)s::bigint[], %(ends)s::float8[],
        %(cells)s::text[]) AS c (scope, window_key, value, expires_s, cell)
    ON CONFLICT (cell, scope, window_key)
    DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
)
UPDATE router.queues SET next_at = to_timestamp(seen.next_s), served_at = now(),
    active = coalesce(to_timestamp(seen.next_s) <= now() + interval '1 ms', false),
    first_due_at = to_timestamp(seen.first_due_s) - interval '1 ms'
FROM unnest(%(queue_ids)s::text[], %(versions)s::bigint[], %(nexts)s::float8[],
    %(first_dues)s::float8[]) AS seen (queue_id, version, next_s, first_due_s)
WHERE queues.queue_id = seen.queue_id AND queues.version = seen.version
"""

BLOCK = """
UPDATE router.queues SET next_at = NULL, active = false, blocked_by = refused.blocked_by,
    blocked_at = now(), limited_by = refused.limited_by,
    available_at = to_timestamp(refused.available_at_s)
FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[])
    AS refused (queue_id, blocked_by, limited_by, available_at_s)
WHERE queues.queue_id = refused.queue_id
"""

# Handlers lock queues in the order of their ids, so every statement does, to avoid deadlocks.
WAKE = """
WITH first AS (
    SELECT available.blocked_by, unblocked.queue_id
    FROM unnest(%(scopes)s::text[], %(counts)s::int[]) AS available (blocked_by, counts)
    CROSS JOIN LATERAL (
        SELECT queue_id FROM router.queues
        WHERE cell = %(cell)s AND blocked_by = available.blocked_by AND blocked_by <> ''
        ORDER BY blocked_at LIMIT available.counts
    ) AS unblocked
    UNION ALL (
        SELECT '', queue_id FROM router.queues
        WHERE tenant_id = ANY(%(tenants)s::uuid[]) AND cell = %(cell)s AND blocked_by <> ''
        LIMIT %(limit)s
    )
    UNION ALL (
        SELECT '', queue_id FROM router.queues
        WHERE cell = %(cell)s AND site <> 'unresolved' AND NOT active AND next_at <= now()
        ORDER BY next_at LIMIT %(limit)s
    )
), locked AS (
    SELECT queue_id FROM router.queues WHERE queue_id IN (SELECT queue_id FROM first)
    ORDER BY queue_id FOR UPDATE
)
UPDATE router.queues SET next_at = coalesce(next_at, now()), active = true, blocked_by = '',
    blocked_at = NULL, limited_by = '', available_at = NULL
FROM (SELECT max(blocked_by) AS blocked_by, queue_id FROM first GROUP BY 2) AS unblocked
JOIN locked USING (queue_id)
WHERE queues.queue_id = unblocked.queue_id RETURNING unblocked.blocked_by
"""

LOCK = "SELECT FROM router.queues WHERE queue_id = ANY(%s) ORDER BY queue_id FOR UPDATE"

# Missing queues are created, in the order of their ids too: two transactions may create the same.
LOCK_OR_CREATE = """
INSERT INTO router.queues AS stored (queue_id, tenant_id, cell, site)
SELECT queue_id, tenant_id, cell, site
FROM unnest(%(queue_ids)s::text[], %(tenants)s::uuid[], %(sites)s::text[], %(cells)s::text[])
    AS a (queue_id, tenant_id, site, cell)
ORDER BY queue_id ON CONFLICT (queue_id) DO UPDATE SET cell = stored.cell
"""


class QueueDueTime(NamedTuple):
    queue: ScheduledQueue
    due_s: float


async def mark_queues_due(
    tx: Transaction, activations: Sequence[QueueDueTime], cell_of: CellOf = first_cell
) -> None:
    """Lower the next_at of the queues and raise their version, so that they become or stay
    active. cell_of: of new queues."""
    if not activations:
        return
    await tx.execute(
        ACTIVATE,
        {
            "cells": [cell_of(queue.tenant_id) for queue, _ in activations],
            "queue_ids": [queue.queue_id for queue, _ in activations],
            "tenants": [queue.tenant_id for queue, _ in activations],
            "sites": [queue.site for queue, _ in activations],
            "dues": [due_s for _, due_s in activations],
        },
    )


async def select_active_after_tenant(
    tx: Transaction, cell: str, *, after: str, limit: int
) -> list[ActiveQueue]:
    """Active queues of the tenants after this one; of the first tenants again after the last."""
    params = {"cell": cell, "each": QUEUES_PER_TENANT, "limit": limit, "after": after}
    rows = await tx.rows(ACTIVE_BY_TENANT, params)
    if not rows and after != FIRST_TENANT:
        rows = await tx.rows(ACTIVE_BY_TENANT, params | {"after": FIRST_TENANT})
    return [ActiveQueue.of(*row) for row in rows]


async def record_served(
    tx: Transaction,
    cell: str,
    *,
    served: Sequence[ServedQueue] = (),
    counters: Sequence[CounterRow],
) -> None:
    """Record when each queue has work next, unless it was activated since it was read, and save the
    changed counters."""
    if not served and not counters:
        return
    served = sorted(served, key=lambda one: one.queue.queue_id)
    await tx.execute(
        RECORD_SERVED,
        {
            "cells": [label_of(LimitScope.of(one.scope), cell) for one in counters],
            "queue_ids": [one.queue.queue_id for one in served],
            "versions": [one.queue.version for one in served],
            "nexts": [one.next_s for one in served],
            "first_dues": [one.first_due_s for one in served],
            "scopes": [one.scope for one in counters],
            "windows": [one.window_key for one in counters],
            "values": [one.value for one in counters],
            "ends": [one.expires_s for one in counters],
        },
    )


async def block(tx: Transaction, blocked: Sequence[BlockedQueue]) -> None:
    blocked = sorted(blocked)
    if blocked:
        available_at = [queue.capacity.available_at_s for queue in blocked]
        await tx.execute(
            BLOCK,
            (
                [queue.queue_id for queue in blocked],
                [queue.scope.key for queue in blocked],
                [queue.capacity.limited_by for queue in blocked],
                [moment_s if isfinite(moment_s) else None for moment_s in available_at],
            ),
        )


async def lock(tx: Transaction, queue_ids: Sequence[str]) -> None:
    """Lock queues in the order of their ids, before several statements write them."""
    await tx.rows(LOCK, (list(queue_ids),))


async def lock_or_create(
    tx: Transaction, queues: Iterable[ScheduledQueue], cell_of: CellOf = first_cell
) -> None:
    """Like `lock`, for queues that may not exist yet. Every transaction locks rows of messages
    before queues."""
    listed = list(queues)
    params = {
        "cells": [cell_of(queue.tenant_id) for queue in listed],
        "queue_ids": [queue.queue_id for queue in listed],
        "tenants": [queue.tenant_id for queue in listed],
        "sites": [queue.site for queue in listed],
    }
    await tx.execute(LOCK_OR_CREATE, params)


async def unblock_queues(
    tx: Transaction, cell: str, to_unblock: QueuesToUnblock
) -> dict[LimitScope, int]:
    """Unblock the first queues of each scope, up to its count, and those of changed tenants, and
    activate the queues that have become due. Returns the number of each scope."""
    rows = await tx.rows(
        WAKE,
        {
            "cell": cell,
            "scopes": [scope.key for scope in to_unblock.counts],
            "counts": list(to_unblock.counts.values()),
            "tenants": list(to_unblock.tenants),
            "limit": UNBLOCKED_MAX,
        },
    )
    found = Counter(blocked_by for (blocked_by,) in rows)
    return {scope: found[scope.key] for scope in to_unblock.counts}


class UnblockPosition(NamedTuple):
    """The position of a blocked queue in the order in which its scope unblocks queues."""

    blocked_by: str
    blocked_at: datetime
    queue_id: str


FIRST_POSITION = UnblockPosition("", datetime.min.replace(tzinfo=UTC), "")


async def read_blocked_page(
    tx: Transaction, cell: str, after: UnblockPosition
) -> list[UnblockPosition]:
    """The next blocked queues after a position."""
    rows = await tx.rows(
        "SELECT blocked_by, blocked_at, queue_id FROM router.queues"
        " WHERE cell = %s AND blocked_by <> ''"
        " AND (blocked_by, blocked_at, queue_id) > (%s, %s, %s)"
        " ORDER BY blocked_by, blocked_at, queue_id LIMIT %s",
        (cell, *after, BLOCKED_PAGE_ROWS),
    )
    return [UnblockPosition(*row) for row in rows]


async def unblock_by_id(tx: Transaction, queue_ids: Sequence[str]) -> None:
    await lock(tx, queue_ids)
    await tx.execute(
        "UPDATE router.queues SET next_at = now(), active = true, blocked_by = '',"
        " blocked_at = NULL, limited_by = '', available_at = NULL"
        " WHERE queue_id = ANY(%s) AND blocked_by <> ''",
        (list(queue_ids),),
    )


async def read_blocking_scopes(tx: Transaction, cell: str, after: str) -> list[str]:
    """The next keys of scopes that block queues: a page of a skip scan."""
    rows = await tx.rows(
        "WITH RECURSIVE scopes AS ("
        " (SELECT blocked_by FROM router.queues WHERE cell = %(cell)s AND blocked_by <> ''"
        "  AND blocked_by > %(after)s ORDER BY blocked_by LIMIT 1)"
        " UNION ALL SELECT (SELECT blocked_by FROM router.queues WHERE cell = %(cell)s"
        "  AND blocked_by <> '' AND blocked_by > scopes.blocked_by ORDER BY blocked_by LIMIT 1)"
        " FROM scopes WHERE scopes.blocked_by IS NOT NULL"
        ") SELECT blocked_by FROM scopes WHERE blocked_by IS NOT NULL LIMIT %(limit)s",
        {"cell": cell, "after": after, "limit": BLOCKED_PAGE_ROWS},
    )
    return [blocked_by for (blocked_by,) in rows]


async def delete_idle(tx: Transaction) -> int:
    """Delete queues that have been empty for a day; new mail creates them again."""
    return await tx.execute(
        "DELETE FROM router.queues WHERE ctid = ANY(ARRAY(SELECT ctid FROM router.queues"
        " WHERE cell = ANY(ARRAY(SELECT cell FROM router.cells)) AND next_at IS NULL"
        " AND blocked_by = '' AND served_at < now() - interval '1 day'"
        " LIMIT 1000 FOR UPDATE SKIP LOCKED))",
    )
