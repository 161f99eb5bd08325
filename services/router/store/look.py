"""The owner's first look in every tick, in one statement."""

from typing import NamedTuple

from kernel.database import Transaction
from services.router.domain.fairness import OpenLane
from services.router.domain.message import CELL
from services.router.store.answers import Result
from services.router.store.lanes import open_by_tenant

LOOK = """
WITH drained AS (DELETE FROM router.results WHERE cell = %(cell)s RETURNING outcomes),
opened AS (
    SELECT lane, version, next_at FROM router.lanes
    WHERE cell = %(cell)s AND site <> 'resolving' AND next_at <= now()
    ORDER BY next_at LIMIT %(most)s
)
SELECT extract(epoch FROM now())::float8, (
    SELECT extract(epoch FROM min(next_at))::float8 FROM router.lanes
    WHERE cell = %(cell)s AND site <> 'resolving' AND next_at > now()
), NULL::jsonb, NULL::text, NULL::bigint
UNION ALL SELECT 0, 0, outcomes, NULL, NULL FROM drained
UNION ALL SELECT 0, extract(epoch FROM next_at)::float8, NULL, lane, version FROM opened
"""


class Look(NamedTuple):
    """now_s: the transaction's moment by the database's clock, for every decision in it.
    opens_s: when the first lane opens that is not open."""

    now_s: float
    opens_s: float | None
    results: list[Result]
    opened: list[OpenLane]


async def look(tx: Transaction, *, most: int) -> Look:
    """Drain what was appended, and see which lanes have work now, longest waiting first; of every
    tenant some, if there are many."""
    rows = await tx.rows(LOOK, {"cell": CELL, "most": most})
    [(now_s, opens_s)] = [row[:2] for row in rows if row[2] is None and row[3] is None]
    results = [Result(*outcome) for row in rows if row[2] for outcome in row[2]]
    opened = [
        OpenLane.of(row[3], row[4]) for row in sorted(rows, key=by_time) if row[3] is not None
    ]
    if len(opened) == most:
        opened = await open_by_tenant(tx, most=most)
    return Look(now_s, opens_s, results, opened)


def by_time(row: tuple[float, float | None, object, str | None, int | None]) -> float:
    return row[1] or 0.0
