"""The first read of the scheduler in each tick, in one statement."""

from typing import NamedTuple

from contracts.router.v1.results_pb2 import Results
from kernel.database import Row, Transaction
from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.store.queues import select_active_after_tenant
from services.router.store.results import parse

SNAPSHOT = """
WITH drained AS (DELETE FROM router.results WHERE cell = %(cell)s RETURNING entries),
active AS (
    SELECT queue_id, version, next_at, first_due_at FROM router.queues
    WHERE cell = %(cell)s AND site <> 'unresolved' AND active
    ORDER BY next_at LIMIT %(limit)s
)
SELECT extract(epoch FROM now())::float8, (
    SELECT extract(epoch FROM min(next_at))::float8 FROM router.queues
    WHERE cell = %(cell)s AND site <> 'unresolved' AND NOT active AND next_at IS NOT NULL
), NULL::bytea, NULL::text, (SELECT revision FROM router.cells WHERE cell = %(cell)s), NULL::float8
UNION ALL SELECT 0, 0, entries, NULL, NULL, NULL FROM drained
UNION ALL SELECT 0, extract(epoch FROM next_at)::float8, NULL, queue_id, version,
    extract(epoch FROM first_due_at)::float8 FROM active
"""


class TickInput(NamedTuple):
    """now_s: start of the transaction by the database's clock, used by all decisions of the tick.
    next_due_s: when the first inactive queue is due. is_complete: all active queues were read.
    revision: of the cell."""

    now_s: float
    next_due_s: float | None
    results: Results
    active: list[ActiveQueue]
    is_complete: bool
    revision: int


async def read_snapshot(tx: Transaction, cell: str, *, limit: int, after_tenant: str) -> TickInput:
    """Drain the results, and read the active queues, the longest waiting first. If there are more
    than the limit, read some of each tenant after the given one."""
    rows = await tx.rows(SNAPSHOT, {"cell": cell, "limit": limit})
    [(now_s, next_due_s, revision)] = [
        (*row[:2], row[4]) for row in rows if row[2] is None and row[3] is None
    ]
    results = parse(row[2] for row in rows if row[2] is not None)
    active = [ActiveQueue.of(*row[3:]) for row in sorted(rows, key=by_time) if row[3] is not None]
    is_complete = len(active) < limit
    if not is_complete:
        active = await select_active_after_tenant(tx, cell, after=after_tenant, limit=limit)
    return TickInput(now_s, next_due_s, results, active, is_complete, revision or 0)


def by_time(row: Row) -> float:
    return row[1] or 0.0
