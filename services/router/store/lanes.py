"""Lanes: which have work, who refused them, and who wakes them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from kernel.database import Transaction
from services.router.domain.fairness import OpenLane, Parked
from services.router.domain.message import CELL, Lane
from services.router.domain.windows import Saved

# A lane in a ring is woken by its ring alone; until then new work only raises the version.
GIVE_WORK = """
INSERT INTO router.lanes AS held (lane, tenant_id, cell, site, next_at)
SELECT lane, tenant_id, %(cell)s, site, to_timestamp(min(due)) FROM
    unnest(%(lanes)s::text[], %(tenants)s::uuid[], %(sites)s::text[], %(dues)s::float8[])
    AS work (lane, tenant_id, site, due)
GROUP BY 1, 2, 4 ORDER BY 1
ON CONFLICT (lane) DO UPDATE SET version = held.version + 1,
    next_at = CASE WHEN held.ring = '' THEN least(held.next_at, excluded.next_at) END
"""

# Where more lanes are open than one look takes, every tenant gets a look: a skip scan over
# (cell, tenant_id, next_at), from tenant to tenant that has an open lane.
OPEN_BY_TENANT = """
WITH RECURSIVE tenants AS (
    (SELECT tenant_id FROM router.lanes
     WHERE cell = %(cell)s AND site <> 'resolving' AND next_at <= now()
     ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT tenant_id FROM router.lanes
            WHERE cell = %(cell)s AND site <> 'resolving' AND next_at <= now()
              AND tenant_id > tenants.tenant_id ORDER BY tenant_id LIMIT 1)
    FROM tenants WHERE tenants.tenant_id IS NOT NULL
)
SELECT found.lane, found.version FROM tenants CROSS JOIN LATERAL (
    SELECT lane, version, next_at FROM router.lanes
    WHERE cell = %(cell)s AND site <> 'resolving' AND tenant_id = tenants.tenant_id
      AND next_at <= now() ORDER BY next_at LIMIT %(each)s
) AS found
WHERE tenants.tenant_id IS NOT NULL ORDER BY found.next_at LIMIT %(most)s
"""
EACH_TENANT = 10
PARKED_ROWS = 2_000

# What is counted commits with what is assigned: absolute values, because only the owner writes.
SERVED = """
WITH counted AS (
    INSERT INTO router.counters AS held (cell, scope, window_key, value, expires_at)
    SELECT %(cell)s, scope, window_key, value, to_timestamp(expires_s)
    FROM unnest(%(scopes)s::text[], %(windows)s::text[], %(values)s::bigint[], %(ends)s::float8[])
        AS c (scope, window_key, value, expires_s)
    ON CONFLICT (cell, scope, window_key)
    DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
)
UPDATE router.lanes SET next_at = to_timestamp(seen.next_s), served_at = now()
FROM unnest(%(lanes)s::text[], %(versions)s::bigint[], %(nexts)s::float8[])
    AS seen (lane, version, next_s)
WHERE lanes.lane = seen.lane AND lanes.version = seen.version
"""

PARK = """
UPDATE router.lanes SET next_at = NULL, ring = refused.ring, ring_at = now(),
    binding = refused.binding, release_at = to_timestamp(refused.release_s)
FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[])
    AS refused (lane, ring, binding, release_s)
WHERE lanes.lane = refused.lane
"""

# Handlers lock lanes in the order of their keys, so everybody does: a deadlock lasts a second.
WAKE = """
WITH first AS (
    SELECT free.ring, woken.lane
    FROM unnest(%s::text[], %s::int[]) AS free (ring, places) CROSS JOIN LATERAL (
        SELECT lane FROM router.lanes WHERE cell = %s AND ring = free.ring AND ring <> ''
        ORDER BY ring_at LIMIT free.places
    ) AS woken
), locked AS (
    SELECT lane FROM router.lanes WHERE lane IN (SELECT lane FROM first) ORDER BY lane FOR UPDATE
)
UPDATE router.lanes SET next_at = now(), ring = '', ring_at = NULL, binding = '', release_at = NULL
FROM first JOIN locked USING (lane)
WHERE lanes.lane = first.lane RETURNING first.ring
"""

LOCK = "SELECT FROM router.lanes WHERE lane = ANY(%s) ORDER BY lane FOR UPDATE"


# Made where they are missing: two that make the same lanes meet in the same order too.
HOLD = """
INSERT INTO router.lanes AS held (lane, tenant_id, cell, site)
SELECT lane, tenant_id, %(cell)s, site
FROM unnest(%(lanes)s::text[], %(tenants)s::uuid[], %(sites)s::text[]) AS a (lane, tenant_id, site)
ORDER BY lane ON CONFLICT (lane) DO UPDATE SET cell = held.cell
"""


class Work(NamedTuple):
    lane: Lane
    due_s: float


async def give_work(tx: Transaction, work: Sequence[Work]) -> None:
    """Lower each lane's next_at, and raise its version, so that the owner does not close it."""
    if not work:
        return
    await tx.execute(
        GIVE_WORK,
        {
            "cell": CELL,
            "lanes": [lane.key for lane, _ in work],
            "tenants": [lane.tenant_id for lane, _ in work],
            "sites": [lane.site for lane, _ in work],
            "dues": [due_s for _, due_s in work],
        },
    )


async def open_by_tenant(tx: Transaction, *, most: int) -> list[OpenLane]:
    rows = await tx.rows(OPEN_BY_TENANT, {"cell": CELL, "each": EACH_TENANT, "most": most})
    return [OpenLane.of(*row) for row in rows]


async def serve(
    tx: Transaction,
    served: Sequence[tuple[OpenLane, float | None]],
    *,
    counted: Sequence[Saved],
) -> None:
    """When each lane has work next (None: it is empty), unless somebody gave it more meanwhile;
    and the counters that changed."""
    if not served and not counted:
        return
    served = sorted(served)
    await tx.execute(
        SERVED,
        {
            "cell": CELL,
            "lanes": [lane.key for lane, _ in served],
            "versions": [lane.version for lane, _ in served],
            "nexts": [next_s for _, next_s in served],
            "scopes": [one.scope for one in counted],
            "windows": [one.window for one in counted],
            "values": [one.value for one in counted],
            "ends": [one.expires_s for one in counted],
        },
    )


async def park(tx: Transaction, parked: Sequence[Parked]) -> None:
    parked = sorted(parked)
    if parked:
        releases = [lane.room.release_s for lane in parked]
        await tx.execute(
            PARK,
            (
                [lane.key for lane in parked],
                [lane.ring for lane in parked],
                [lane.room.binding for lane in parked],
                [release_s if isfinite(release_s) else None for release_s in releases],
            ),
        )


async def lock(tx: Transaction, keys: Sequence[str]) -> None:
    """Before lanes are written by several statements, in the order of their keys."""
    await tx.rows(LOCK, (list(keys),))


async def hold(tx: Transaction, lanes: Iterable[Lane]) -> None:
    """As `lock`, for lanes of which some may not be there yet. Rows of messages are locked before
    any lane, here as by everybody."""
    held = list(lanes)
    params = {
        "cell": CELL,
        "lanes": [lane.key for lane in held],
        "tenants": [lane.tenant_id for lane in held],
        "sites": [lane.site for lane in held],
    }
    await tx.execute(HOLD, params)


async def wake(tx: Transaction, places: dict[str, int]) -> dict[str, int]:
    """The first lanes of each ring, as many as it has free places; how many there were."""
    if not places:
        return {}
    rows = await tx.rows(WAKE, (list(places), list(places.values()), CELL))
    woken = dict.fromkeys(places, 0)
    for (ring,) in rows:
        woken[ring] += 1
    return woken


class Place(NamedTuple):
    """Of a parked lane, in the order in which its ring wakes them."""

    ring: str
    ring_at: datetime
    lane: str


FIRST = Place("", datetime.min.replace(tzinfo=UTC), "")


async def parked(tx: Transaction, after: Place) -> list[Place]:
    """The next lanes that wait for a ring."""
    rows = await tx.rows(
        "SELECT ring, ring_at, lane FROM router.lanes WHERE cell = %s AND ring <> ''"
        " AND (ring, ring_at, lane) > (%s, %s, %s) ORDER BY ring, ring_at, lane LIMIT %s",
        (CELL, *after, PARKED_ROWS),
    )
    return [Place(*row) for row in rows]


async def unpark(tx: Transaction, keys: Sequence[str]) -> None:
    await lock(tx, keys)
    await tx.execute(
        "UPDATE router.lanes SET next_at = now(), ring = '', ring_at = NULL, binding = '',"
        " release_at = NULL WHERE lane = ANY(%s) AND ring <> ''",
        (list(keys),),
    )


async def rings(tx: Transaction) -> set[str]:
    """All rings that have lanes."""
    rows = await tx.rows(
        "SELECT DISTINCT ring FROM router.lanes WHERE cell = %s AND ring <> ''", (CELL,)
    )
    return {ring for (ring,) in rows}


async def forget(tx: Transaction) -> int:
    """Lanes that have been empty for a day: whoever has mail for one makes it again."""
    return await tx.execute(
        "DELETE FROM router.lanes WHERE ctid = ANY(ARRAY(SELECT ctid FROM router.lanes"
        " WHERE cell = %s AND next_at IS NULL AND ring = ''"
        " AND served_at < now() - interval '1 day' LIMIT 1000 FOR UPDATE SKIP LOCKED))",
        (CELL,),
    )
