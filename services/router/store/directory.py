"""Pools and egresses."""

from collections.abc import Sequence

from contracts.router.v1.directory_pb2 import Egress, Pool
from kernel.database import Transaction
from services.router.domain.message import CELL
from services.router.domain.scopes import Egress as WayOut


async def ways_out(tx: Transaction) -> list[WayOut]:
    """Those that may be used."""
    rows = await tx.rows(
        "SELECT egress_id::text, pool_id::text, source_ip, ehlo, source_ipv6 FROM router.egresses"
        " JOIN router.pools USING (pool_id)"
        " WHERE cell = %s AND NOT paused AND NOT egresses.deleted AND NOT pools.deleted"
        " ORDER BY egress_id",
        (CELL,),
    )
    return [WayOut(*row) for row in rows]


async def all_pools(tx: Transaction) -> list[Pool]:
    rows = await tx.rows(
        "SELECT pool_id::text, version, deleted, name, cell FROM router.pools ORDER BY pool_id"
    )
    return [
        Pool(pool_id=row[0], version=row[1], deleted=row[2], name=row[3], cell=row[4])
        for row in rows
    ]


async def all_egresses(tx: Transaction) -> list[Egress]:
    rows = await tx.rows(
        "SELECT egress_id::text, version, deleted, pool_id::text, source_ip, source_ipv6, ehlo,"
        " paused FROM router.egresses ORDER BY egress_id"
    )
    return [egress(row) for row in rows]


def egress(row: Sequence[object]) -> Egress:
    names = (
        *("egress_id", "version", "deleted", "pool_id"),
        *("source_ip", "source_ipv6", "ehlo", "paused"),
    )
    return Egress(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]


async def add_pool(tx: Transaction, pool: Pool) -> bool:
    """False where the name is taken."""
    rows = await tx.rows(
        "INSERT INTO router.pools (pool_id, version, name, cell) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING RETURNING 1",
        (pool.pool_id, pool.version, pool.name, pool.cell),
    )
    return bool(rows)


async def remove_pool(tx: Transaction, pool_id: str) -> Pool | None:
    """The pool with its next version; None while it has egresses."""
    rows = await tx.rows(
        "UPDATE router.pools p SET version = version + 1, deleted = true WHERE pool_id = %s"
        " AND NOT EXISTS (SELECT FROM router.egresses e WHERE e.pool_id = p.pool_id"
        " AND NOT e.deleted) RETURNING pool_id::text, version, deleted, name, cell",
        (pool_id,),
    )
    names = ("pool_id", "version", "deleted", "name", "cell")
    return Pool(**dict(zip(names, rows[0], strict=True))) if rows else None


async def add_egress(tx: Transaction, added: Egress) -> bool:
    """False where another egress has one of the addresses."""
    rows = await tx.rows(
        "INSERT INTO router.egresses (egress_id, version, pool_id, source_ip, source_ipv6, ehlo)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
        (
            added.egress_id,
            added.version,
            added.pool_id,
            added.source_ip,
            added.source_ipv6,
            added.ehlo,
        ),
    )
    return bool(rows)


async def change_egress(
    tx: Transaction, egress_id: str, *, paused: bool | None = None, deleted: bool | None = None
) -> Egress | None:
    """The egress with its next version; None where there is none."""
    rows = await tx.rows(
        "UPDATE router.egresses SET version = version + 1, paused = coalesce(%s, paused),"
        " deleted = coalesce(%s, deleted) WHERE egress_id = %s AND NOT deleted"
        " RETURNING egress_id::text, version, deleted, pool_id::text, source_ip, source_ipv6, ehlo,"
        " paused",
        (paused, deleted, egress_id),
    )
    return egress(rows[0]) if rows else None
