"""Messages that wait for DNS."""

from collections.abc import Sequence
from typing import NamedTuple

from kernel.database import Transaction
from services.router.domain.fairness import OpenLane
from services.router.domain.message import CELL, Claimed
from services.router.store.lanes import lock

LANES_MAX = 100

DUE = """
SELECT m.message_id::text, m.lane, extract(epoch FROM m.due_at)::float8,
    extract(epoch FROM m.expires_at)::float8, m.attempt, m.tries, m.egress_id, m.ambiguous,
    false, m.envelope, extract(epoch FROM now())::float8
FROM unnest(%s::text[]) AS open (lane) CROSS JOIN LATERAL (
    SELECT * FROM router.messages WHERE messages.lane = open.lane AND state = 'waiting'
      AND due_at <= now() ORDER BY due_at LIMIT %s
) AS m
"""

OPEN = """
SELECT lane, version FROM router.lanes
WHERE cell = %s AND site = 'resolving' AND next_at <= now() ORDER BY next_at LIMIT %s
"""

SETTLE = """
UPDATE router.lanes SET served_at = now(), next_at = (
    SELECT greatest(min(due_at), now()) FROM router.messages
    WHERE messages.lane = seen.lane AND state = 'waiting' HAVING min(due_at) IS NOT NULL
)
FROM unnest(%s::text[], %s::bigint[]) AS seen (lane, version)
WHERE lanes.lane = seen.lane AND lanes.version = seen.version
"""


class Waiting(NamedTuple):
    lanes: list[OpenLane]
    rows: list[Claimed]
    now_s: float


async def due(tx: Transaction, *, most: int) -> Waiting:
    """Those whose time has come, of as many tenants as possible."""
    opened = [OpenLane.of(*row) for row in await tx.rows(OPEN, (CELL, LANES_MAX))]
    if not opened:
        return Waiting([], [], 0.0)
    each = max(1, most // len(opened))
    rows = await tx.rows(DUE, ([lane.key for lane in opened], each))
    moment = rows[0][-1] if rows else 0.0
    return Waiting(opened, [Claimed._make(row[:-1]) for row in rows], moment)


async def settle(tx: Transaction, lanes: Sequence[OpenLane]) -> None:
    """When each has work next, unless somebody gave it more meanwhile."""
    await lock(tx, [lane.key for lane in lanes])
    await tx.execute(SETTLE, ([lane.key for lane in lanes], [lane.version for lane in lanes]))
