"""In which cell a tenant is counted: that of the pool in its row. Only the owner of this cell
changes the row, and only a new tenant has none."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kernel.database import Transaction
from services.router.domain.message import CELL

CLAIM = f"""
WITH wanted AS (
    SELECT tenant_id, pool_id FROM unnest(%(tenants)s::uuid[], %(pools)s::text[])
        AS w (tenant_id, pool)
    CROSS JOIN LATERAL (SELECT nullif(w.pool, '')::uuid AS pool_id) AS parsed
), added AS (
    INSERT INTO router.tenant_pools (tenant_id, pool_id)
    SELECT wanted.tenant_id, wanted.pool_id FROM wanted LEFT JOIN router.pools USING (pool_id)
    WHERE wanted.pool_id IS NOT NULL AND coalesce(pools.cell, '{CELL}') = %(cell)s
    ORDER BY 1 ON CONFLICT DO NOTHING RETURNING tenant_id
)
SELECT wanted.tenant_id::text, counted.pool_id::text, coalesce(of_counted.cell, '{CELL}'),
    coalesce(of_wanted.cell, '{CELL}'), added.tenant_id IS NOT NULL
FROM wanted LEFT JOIN added USING (tenant_id)
LEFT JOIN router.tenant_pools AS counted ON counted.tenant_id = wanted.tenant_id
LEFT JOIN router.pools AS of_counted ON of_counted.pool_id = counted.pool_id
LEFT JOIN router.pools AS of_wanted ON of_wanted.pool_id = wanted.pool_id
"""  # noqa: S608 - constants only

CHANGE = """
UPDATE router.tenant_pools AS t SET pool_id = changed.pool_id
FROM unnest(%s::uuid[], %s::uuid[]) AS changed (tenant_id, pool_id)
WHERE t.tenant_id = changed.tenant_id
"""

# The owner that had them may have blocked them; that of their new cell decides anew.
GIVE_QUEUES = """
UPDATE router.queues AS q SET cell = moved.cell, version = q.version + 1,
    next_at = CASE WHEN q.blocked_by = '' THEN q.next_at ELSE now() END,
    active = q.active OR q.blocked_by <> '', blocked_by = '', blocked_at = NULL,
    limited_by = CASE WHEN q.blocked_by = '' THEN q.limited_by ELSE '' END, available_at = NULL
FROM moved WHERE q.queue_id = moved.queue_id
RETURNING moved.cell
"""
PASSED_MAX = 1_000  # queues in one transaction

PASS_ON_QUEUES = f"""
WITH moved AS (
    SELECT queue_id, target.cell FROM router.queues
    JOIN unnest(%(tenants)s::uuid[], %(targets)s::text[]) AS target (tenant_id, cell)
        USING (tenant_id)
    WHERE queues.cell = %(cell)s ORDER BY queue_id LIMIT {PASSED_MAX} FOR UPDATE OF queues
)
{GIVE_QUEUES}
"""  # noqa: S608 - constants only

PASS_ON_MOVED = f"""
WITH moved AS (
    SELECT queue_id, pools.cell FROM router.queues
    JOIN router.tenant_pools USING (tenant_id) JOIN router.pools USING (pool_id)
    WHERE queues.cell = %s AND pools.cell <> queues.cell
    ORDER BY queue_id LIMIT {PASSED_MAX} FOR UPDATE OF queues
)
{GIVE_QUEUES}
"""  # noqa: S608 - constants only


class TenantClaim(NamedTuple):
    """pool_id, cell: in which a tenant is counted; pool_id is None if it was in none. wanted_cell:
    of the pool that it sends through. was_added: it is counted there from now on."""

    tenant_id: str
    pool_id: str | None
    cell: str
    wanted_cell: str
    was_added: bool


async def claim(tx: Transaction, cell: str, wanted: Mapping[str, str]) -> list[TenantClaim]:
    """Count new tenants in this cell, if it has their pools. wanted: pools by tenant; empty for an
    unknown one. Only for the owner of the cell."""
    params = {"cell": cell, "tenants": list(wanted), "pools": list(wanted.values())}
    return [TenantClaim._make(row) for row in await tx.rows(CLAIM, params)]


async def change(tx: Transaction, pools: Mapping[str, str]) -> None:
    """Count tenants in other pools. pools: by tenant. Only for the owner of the cell in which they
    are counted."""
    await tx.execute(CHANGE, (list(pools), list(pools.values())))


async def pass_on_queues(tx: Transaction, cell: str, targets: Mapping[str, str]) -> set[str]:
    """Give some queues of tenants to other cells. targets: cells by tenant. Returns those that got
    any."""
    params = {"cell": cell, "tenants": list(targets), "targets": list(targets.values())}
    return {target for (target,) in await tx.rows(PASS_ON_QUEUES, params)}


async def pass_on_moved(tx: Transaction, cell: str) -> tuple[set[str], bool]:
    """Give the queues of tenants that are counted in other cells to these. Returns the cells that
    got any, and whether there may be more."""
    rows: Sequence[tuple[str]] = await tx.rows(PASS_ON_MOVED, (cell,))
    return {target for (target,) in rows}, len(rows) == PASSED_MAX
