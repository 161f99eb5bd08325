"""Cells, and pools that move between them."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from contracts.router.v1.directory_pb2 import Pool
from kernel.database import Transaction
from services.router.domain.cells import DIVIDED, CellShare
from services.router.domain.message import CELL, SANDBOX
from services.router.store.directory import POOL_COLUMNS, pool_from_row

SHARE = """
SELECT position::int, (SELECT count(*) FROM router.cells)::int, revision
FROM router.cells WHERE cell = %s
"""

# A message in flight whose tenant would move and whose source would stay, or the reverse. Test mail
# is in flight with its tenant.
TORN = f"""
SELECT EXISTS (
    SELECT FROM router.messages AS m
    LEFT JOIN router.tenant_pools AS counted ON counted.tenant_id = m.tenant_id
    LEFT JOIN router.egress_sources AS source ON source.egress_id::text = m.egress_id
    WHERE m.cell = %(cell)s AND m.state = 'assigned' AND m.egress_id <> '{SANDBOX}'
        AND coalesce(counted.pool_id = ANY(%(pools)s::uuid[]), false)
            <> coalesce(source.pool_id = ANY(%(pools)s::uuid[]), false)
)
"""  # noqa: S608 - constants only

# Handlers lock messages in the order of their ids.
MOVE_IN_FLIGHT = """
WITH moved AS (
    SELECT m.message_id FROM router.messages AS m JOIN router.tenant_pools AS counted
        ON counted.tenant_id = m.tenant_id AND counted.pool_id = ANY(%(pools)s::uuid[])
    WHERE m.cell = %(cell)s AND m.state = 'assigned' ORDER BY m.message_id FOR UPDATE OF m
)
UPDATE router.messages AS m SET cell = %(target)s FROM moved
WHERE m.message_id = moved.message_id AND m.state = 'assigned'
"""

# What the other cells have used of their former, larger shares counts for the new one, so that all
# together stay within the limit.
ADD_COUNTERS = """
INSERT INTO router.counters (cell, scope, window_key, value, expires_at)
SELECT %s::text, scope, window_key, max(value), max(expires_at) FROM router.counters
WHERE split_part(scope, '/', 1) = ANY(%s) GROUP BY scope, window_key
"""
# They begin with field 2 of Results.
ADD_COMMANDS = r"""
INSERT INTO router.results (cell, entries)
SELECT %s::text, entries FROM router.results
WHERE cell = %s AND substring(entries FROM 1 FOR 1) = '\x12'::bytea ORDER BY id
"""


class CellRow(NamedTuple):
    cell: str
    pools: int
    owner: str


async def read_share(tx: Transaction, cell: str) -> CellShare:
    rows = await tx.rows(SHARE, (cell,))
    return CellShare(*rows[0]) if rows else CellShare()


async def read_names(tx: Transaction) -> list[str]:
    return [one for (one,) in await tx.rows("SELECT cell FROM router.cells ORDER BY position")]


async def read_cells_of_pools(tx: Transaction) -> dict[str, str]:
    """By pool, of those that are not in the first cell."""
    rows = await tx.rows("SELECT pool_id::text, cell FROM router.pools WHERE cell <> %s", (CELL,))
    return dict(rows)


async def read_ehlo_names(tx: Transaction) -> frozenset[str]:
    rows = await tx.rows("SELECT DISTINCT ehlo FROM router.egress_sources WHERE NOT deleted")
    return frozenset(ehlo for (ehlo,) in rows)


async def read_all(tx: Transaction) -> list[CellRow]:
    rows = await tx.rows(
        "SELECT cell, (SELECT count(*) FROM router.pools WHERE pools.cell = cells.cell"
        " AND NOT deleted), coalesce((SELECT owner FROM router.leases"
        " WHERE name = cell AND expires_at > now()), '') FROM router.cells ORDER BY position"
    )
    return [CellRow(*row) for row in rows]


async def add(tx: Transaction, cell: str) -> bool:
    """False if it exists. No owner decides meanwhile, and all read their cells again: their shares
    are smaller from now on."""
    await tx.rows(
        "SELECT FROM router.leases WHERE name IN (SELECT cell FROM router.cells)"
        " ORDER BY name FOR UPDATE"
    )
    await tx.execute("LOCK TABLE router.results IN SHARE ROW EXCLUSIVE MODE")
    rows = await tx.rows(
        "INSERT INTO router.cells (cell, position)"
        " SELECT %s::text, max(position) + 1 FROM router.cells ON CONFLICT DO NOTHING RETURNING 1",
        (cell,),
    )
    if not rows:
        return False
    await tx.execute("UPDATE router.cells SET revision = revision + 1")
    await tx.execute(ADD_COUNTERS, (cell, [kind.value for kind in DIVIDED]))
    await tx.execute(ADD_COMMANDS, (cell, CELL))
    return True


async def raise_revision(tx: Transaction, cells: Collection[str]) -> None:
    await tx.execute(
        "UPDATE router.cells SET revision = revision + 1 WHERE cell = ANY(ARRAY("
        "SELECT cell FROM router.cells WHERE cell = ANY(%s) ORDER BY cell FOR UPDATE))",
        (list(cells),),
    )


async def start_move(tx: Transaction, pool_ids: Sequence[str], target: str) -> list[Pool]:
    """Mark the pools to move; those that are there already stay. Returns them all."""
    rows = await tx.rows(
        "UPDATE router.pools SET version = version + 1, moves_to = nullif(%s, cell)"  # noqa: S608
        f" WHERE pool_id = ANY(%s::uuid[]) RETURNING {POOL_COLUMNS}",
        (target, list(pool_ids)),
    )
    return [pool_from_row(row) for row in rows]


async def read_moves(tx: Transaction, cell: str) -> dict[str, list[str]]:
    """The pools that are to leave the cell, by the one that they move to."""
    rows = await tx.rows(
        "SELECT moves_to, array_agg(pool_id::text) FROM router.pools"
        " WHERE cell = %s AND moves_to IS NOT NULL GROUP BY 1",
        (cell,),
    )
    return dict(rows)


async def lock_moving(
    tx: Transaction, pool_ids: Sequence[str], cell: str, *, target: str
) -> list[str]:
    """Those of the pools that are still to move there. Until the end of the transaction, nobody
    changes them, or gives a command about what belongs to them."""
    rows = await tx.rows(
        "SELECT pool_id::text FROM router.pools WHERE pool_id = ANY(%s::uuid[]) AND cell = %s"
        " AND moves_to = %s ORDER BY pool_id FOR UPDATE",
        (list(pool_ids), cell, target),
    )
    return [pool_id for (pool_id,) in rows]


async def move_in_flight(
    tx: Transaction, pool_ids: Sequence[str], cell: str, *, target: str
) -> bool:
    """Let the results of the messages in flight of these pools go to another cell: those that are
    recorded from now on. False if a message would be torn apart; then nothing may be kept."""
    params = {"cell": cell, "target": target, "pools": list(pool_ids)}
    [(is_torn,)] = await tx.rows(TORN, params)
    if is_torn:
        return False
    await tx.execute(MOVE_IN_FLIGHT, params)
    return True


async def finish_move(
    tx: Transaction, pool_ids: Sequence[str], cell: str, *, target: str
) -> list[Pool]:
    """Give pools to another cell. Returns them. Only for the owner of the one that they leave."""
    rows = await tx.rows(
        "UPDATE router.pools SET version = version + 1, cell = moves_to, moves_to = NULL"  # noqa: S608
        f" WHERE pool_id = ANY(%s::uuid[]) RETURNING {POOL_COLUMNS}",
        (list(pool_ids),),
    )
    await raise_revision(tx, (cell, target))
    return [pool_from_row(row) for row in rows]
