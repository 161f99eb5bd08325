"""Egress pools and egress sources."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from contracts.router.v1.directory_pb2 import EgressSource, Pool
from kernel.database import Transaction
from services.router.domain.egress import EgressSource as RoutingSource

POOL_COLUMNS = (
    "pool_id::text, version, deleted, name, cell, coalesce(overflow_pool_id::text, ''),"
    " coalesce(feedback_domain_id::text, ''), coalesce(moves_to, '')"
)

SOURCE_COLUMNS = (
    "egress_id::text, version, deleted, pool_id::text, source_ip, source_ipv6, ehlo, paused,"
    " egress_host"
)

LOAD_POOLS = f"SELECT {POOL_COLUMNS} FROM router.pools ORDER BY pool_id"  # noqa: S608 - constants

REMOVE_POOL = f"""
UPDATE router.pools p SET version = version + 1, deleted = true, overflow_pool_id = NULL,
    moves_to = NULL
WHERE pool_id = %s AND NOT EXISTS (
    SELECT FROM router.egress_sources e WHERE e.pool_id = p.pool_id AND NOT e.deleted
)
RETURNING {POOL_COLUMNS}
"""  # noqa: S608 - constants only

CHANGE_POOL = f"""
UPDATE router.pools SET version = version + 1,
    overflow_pool_id = nullif(coalesce(%s, overflow_pool_id::text), '')::uuid,
    feedback_domain_id = nullif(coalesce(%s, feedback_domain_id::text), '')::uuid
WHERE pool_id = %s RETURNING {POOL_COLUMNS}
"""  # noqa: S608 - constants only

MOVE_TO_POOL = f"""
UPDATE router.egress_sources SET version = egress_sources.version + 1, pool_id = %(pool)s
WHERE egress_id = ANY(ARRAY(
    SELECT e.egress_id FROM router.egress_sources e JOIN router.pools p USING (pool_id)
    WHERE p.name = %(from)s AND NOT p.deleted AND NOT e.deleted AND NOT e.paused
    ORDER BY e.egress_id LIMIT %(limit)s FOR UPDATE OF e
))
RETURNING {SOURCE_COLUMNS}
"""  # noqa: S608 - constants only


SOURCES_PAGE = f"""
SELECT {SOURCE_COLUMNS}
FROM router.egress_sources
WHERE (NOT deleted OR egress_id::text = ANY(%(in_flight)s))
    AND (%(pool_ids)s::uuid[] IS NULL OR pool_id = ANY(%(pool_ids)s::uuid[]))
    AND %(address)s IN ('', source_ip, source_ipv6)
    AND egress_id = coalesce(%(egress_id)s::uuid, egress_id)
    AND (%(after)s::uuid IS NULL OR egress_id < %(after)s::uuid)
ORDER BY egress_id DESC LIMIT %(limit)s
"""  # noqa: S608 - constants only

LOAD_CELL_SOURCES = """
SELECT egress_id::text, pool_id::text, source_ip, ehlo, source_ipv6, paused,
    coalesce(feedback_domain_id::text, ''), egress_host
FROM router.egress_sources JOIN router.pools USING (pool_id)
WHERE (%s::text IS NULL OR cell = %s) AND NOT egress_sources.deleted AND NOT pools.deleted
    AND (NOT %s OR egress_host <> '')
ORDER BY egress_id
"""

ADD_SOURCE = """
INSERT INTO router.egress_sources
    (egress_id, version, pool_id, source_ip, source_ipv6, ehlo, egress_host)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1
"""

MOVE_SOURCE = f"""
UPDATE router.egress_sources e SET version = version + 1, source_ip = %(ip)s,
    source_ipv6 = %(ipv6)s WHERE egress_id = %(id)s AND NOT deleted
    AND NOT EXISTS (SELECT FROM router.egress_sources o WHERE o.egress_id <> e.egress_id
    AND NOT o.deleted AND (o.source_ip = nullif(%(ip)s, '')
    OR o.source_ipv6 = nullif(%(ipv6)s, '')))
RETURNING {SOURCE_COLUMNS}
"""  # noqa: S608 - constants only

CHANGE_SOURCE = f"""
UPDATE router.egress_sources SET version = version + 1, pool_id = coalesce(%s::uuid, pool_id),
    ehlo = coalesce(%s, ehlo), paused = coalesce(%s, paused), deleted = coalesce(%s, deleted),
    egress_host = coalesce(%s, egress_host)
WHERE egress_id = %s AND NOT deleted
RETURNING {SOURCE_COLUMNS}
"""  # noqa: S608 - constants only


async def load_cell_sources(tx: Transaction, cell: str | None) -> list[RoutingSource]:
    """The sources of the cell, including paused ones. None: of all cells."""
    rows = await tx.rows(LOAD_CELL_SOURCES, (cell, cell, False))
    return [RoutingSource(*row) for row in rows]


async def load_hosted_sources(tx: Transaction, cell: str) -> list[RoutingSource]:
    """Those whose addresses an egress host owns."""
    rows = await tx.rows(LOAD_CELL_SOURCES, (cell, cell, True))
    return [RoutingSource(*row) for row in rows]


async def load_overflow_pools(tx: Transaction, cell: str) -> dict[str, str]:
    """By pool, of those that have one."""
    rows = await tx.rows(
        "SELECT pool_id::text, overflow_pool_id::text FROM router.pools"
        " WHERE overflow_pool_id IS NOT NULL AND cell = %s AND NOT deleted",
        (cell,),
    )
    return dict(rows)


async def load_pools(tx: Transaction, *, lock: bool = False) -> list[Pool]:
    """lock: until the end of the transaction, no other one changes a pool."""
    rows = await tx.rows(LOAD_POOLS + (" FOR UPDATE" if lock else ""))
    return [pool_from_row(row) for row in rows]


def pool_from_row(row: Sequence[object]) -> Pool:
    names = (
        *("pool_id", "version", "deleted", "name", "cell"),
        *("overflow_pool_id", "feedback_domain_id", "moves_to"),
    )
    return Pool(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]


async def load_all_sources(tx: Transaction) -> list[EgressSource]:
    rows = await tx.rows(
        f"SELECT {SOURCE_COLUMNS} FROM router.egress_sources ORDER BY egress_id"  # noqa: S608
    )
    return [source_from_row(row) for row in rows]


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """Which sources to read, newest first. pool_ids: None: of all pools. after: an id. in_flight:
    sources with messages in flight, which are shown also when they are removed."""

    limit: int
    pool_ids: Sequence[str] | None = None
    address: str = ""
    egress_id: str | None = None
    after: str | None = None
    in_flight: Sequence[str] = ()


async def load_sources_page(tx: Transaction, page: SourceQuery) -> list[EgressSource]:
    rows = await tx.rows(SOURCES_PAGE, asdict(page))
    return [source_from_row(row) for row in rows]


def source_from_row(row: Sequence[object]) -> EgressSource:
    names = (
        *("egress_id", "version", "deleted", "pool_id"),
        *("source_ip", "source_ipv6", "ehlo", "paused", "egress_host"),
    )
    return EgressSource(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]


async def add_pool(tx: Transaction, pool: Pool) -> bool:
    """False if another pool has the name."""
    rows = await tx.rows(
        "INSERT INTO router.pools (pool_id, version, name, cell) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING RETURNING 1",
        (pool.pool_id, pool.version, pool.name, pool.cell),
    )
    return bool(rows)


async def remove_pool(tx: Transaction, pool_id: str) -> Pool | None:
    """The deleted pool with its next version; None if it still has sources."""
    rows = await tx.rows(REMOVE_POOL, (pool_id,))
    return pool_from_row(rows[0]) if rows else None


async def change_pool(
    tx: Transaction,
    pool_id: str,
    *,
    overflow_pool_id: str | None = None,
    feedback_domain_id: str | None = None,
) -> Pool:
    """The pool with its next version. None: it stays as it is; empty: none."""
    [row] = await tx.rows(CHANGE_POOL, (overflow_pool_id, feedback_domain_id, pool_id))
    return pool_from_row(row)


async def add_source(tx: Transaction, added: EgressSource) -> bool:
    """False if another source has one of the addresses."""
    rows = await tx.rows(
        ADD_SOURCE,
        (
            added.egress_id,
            added.version,
            added.pool_id,
            added.source_ip,
            added.source_ipv6,
            added.ehlo,
            added.egress_host,
        ),
    )
    return bool(rows)


async def move_source(
    tx: Transaction, egress_id: str, *, source_ip: str, source_ipv6: str
) -> EgressSource | None:
    """The source with its new addresses and its next version; None if another source has one of
    them."""
    rows = await tx.rows(MOVE_SOURCE, {"id": egress_id, "ip": source_ip, "ipv6": source_ipv6})
    return source_from_row(rows[0]) if rows else None


async def move_to_pool(
    tx: Transaction, from_name: str, pool_id: str, *, limit: int
) -> list[EgressSource]:
    """Move as many sources that are not paused, the oldest first; those with their next version."""
    rows = await tx.rows(MOVE_TO_POOL, {"from": from_name, "pool": pool_id, "limit": limit})
    return [source_from_row(row) for row in rows]


async def is_same_cell(tx: Transaction, egress_id: str, pool_id: str) -> bool:
    """Whether a source and a pool are in one cell, as far as both exist."""
    rows = await tx.rows(
        "SELECT of_source.cell = other.cell FROM router.egress_sources"
        " JOIN router.pools AS of_source USING (pool_id), router.pools AS other"
        " WHERE egress_id = %s AND other.pool_id = %s",
        (egress_id, pool_id),
    )
    return all(is_same for (is_same,) in rows)


async def change_source(
    tx: Transaction,
    egress_id: str,
    *,
    pool_id: str | None = None,
    ehlo: str | None = None,
    paused: bool | None = None,
    deleted: bool | None = None,
    egress_host: str | None = None,
) -> EgressSource | None:
    """The changed source with its next version; None if it does not exist."""
    rows = await tx.rows(CHANGE_SOURCE, (pool_id, ehlo, paused, deleted, egress_host, egress_id))
    return source_from_row(rows[0]) if rows else None
