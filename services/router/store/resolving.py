"""Messages that wait for DNS, in a lane for each tenant and domain."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kernel.database import Transaction
from services.router.domain.fairness import OpenLane
from services.router.domain.message import CELL, Claimed
from services.router.store.lanes import lock

LANES_MAX = 1000
ROWS_MAX = 1000

OPEN = """
SELECT lane, version FROM router.lanes
WHERE cell = %s AND site = 'resolving' AND next_at <= now() ORDER BY next_at LIMIT %s
"""

# Where more are open, the first of every tenant, then the second of every: a skip scan over
# (cell, tenant_id, next_at), from tenant to tenant.
OPEN_BY_TENANT = """
WITH RECURSIVE tenants AS (
    (SELECT tenant_id FROM router.lanes
     WHERE cell = %(cell)s AND site = 'resolving' AND next_at <= now()
     ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT tenant_id FROM router.lanes
            WHERE cell = %(cell)s AND site = 'resolving' AND next_at <= now()
              AND tenant_id > tenants.tenant_id ORDER BY tenant_id LIMIT 1)
    FROM tenants WHERE tenants.tenant_id IS NOT NULL
), seen AS (
    SELECT tenant_id FROM tenants WHERE tenant_id IS NOT NULL LIMIT %(most)s
)
SELECT found.lane, found.version FROM seen CROSS JOIN LATERAL (
    SELECT lane, version, row_number() OVER (ORDER BY next_at) AS nth FROM router.lanes
    WHERE cell = %(cell)s AND site = 'resolving' AND tenant_id = seen.tenant_id
      AND next_at <= now() ORDER BY next_at LIMIT %(each)s
) AS found
ORDER BY found.nth LIMIT %(most)s
"""
EACH_TENANT = 200

DUE = """
SELECT m.message_id::text, m.lane, extract(epoch FROM m.due_at)::float8,
    extract(epoch FROM m.expires_at)::float8, m.attempt, m.tries, m.egress_id, m.ambiguous,
    false, m.envelope
FROM unnest(%s::text[]) AS open (lane) CROSS JOIN LATERAL (
    SELECT * FROM router.messages WHERE messages.lane = open.lane AND state = 'waiting'
      AND due_at <= now() ORDER BY due_at LIMIT %s
) AS m
"""

SETTLE = """
UPDATE router.lanes SET served_at = now(), binding = seen.binding,
    release_at = now() + make_interval(secs => seen.again_s),
    next_at = coalesce(now() + make_interval(secs => seen.again_s), (
        SELECT greatest(min(due_at), now()) FROM router.messages
        WHERE messages.lane = seen.lane AND state = 'waiting' HAVING min(due_at) IS NOT NULL
    ))
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::float8[])
    AS seen (lane, version, binding, again_s)
WHERE lanes.lane = seen.lane AND lanes.version = seen.version
"""

# A day has more domains than tenants and sites: an empty lane does not stay until it is forgotten.
DROP = """
DELETE FROM router.lanes
WHERE lane = ANY(%s) AND site = 'resolving' AND next_at IS NULL AND ring = ''
"""


class Settled(NamedTuple):
    """again_s: from now, when DNS is to be asked again; None: when its mail is due."""

    lane: OpenLane
    again_s: float | None = None
    binding: str = ""


async def opened(tx: Transaction) -> list[OpenLane]:
    """Lanes whose time has come; of every tenant some, if there are many."""
    rows = await tx.rows(OPEN, (CELL, LANES_MAX))
    if len(rows) == LANES_MAX:
        params = {"cell": CELL, "each": EACH_TENANT, "most": LANES_MAX}
        rows = await tx.rows(OPEN_BY_TENANT, params)
    return [OpenLane.of(*row) for row in rows]


async def due(tx: Transaction, keys: Sequence[str], *, each: int) -> list[Claimed]:
    """Messages of these lanes whose time has come."""
    return [Claimed._make(row) for row in await tx.rows(DUE, (list(keys), each))] if keys else []


async def settle(tx: Transaction, settled: Iterable[Settled]) -> None:
    """When each has work next, unless somebody gave it more meanwhile."""
    lanes = list(settled)
    keys = [one.lane.key for one in lanes]
    await lock(tx, keys)
    versions = [one.lane.version for one in lanes]
    again = [one.again_s for one in lanes]
    await tx.execute(SETTLE, (keys, versions, [one.binding for one in lanes], again))
    await tx.execute(DROP, (keys,))
