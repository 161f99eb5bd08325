"""Counters of the scheduler."""

from collections.abc import Iterable

from kernel.database import Transaction
from services.router.domain.cells import label_of
from services.router.domain.counters import CounterRow
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.message import CELL

DELETE_BATCH_ROWS = 1_000  # deleted in one transaction
PAGE_ROWS = 2_000

CounterKey = tuple[str, str]


def first_key(kind: ScopeKind) -> CounterKey:
    """Before the counters of a kind of scopes."""
    return f"{kind}/", ""


async def read_counters_page(
    tx: Transaction, cell: str, kind: ScopeKind, *, after: CounterKey
) -> tuple[list[CounterRow], CounterKey | None]:
    """The next counters of a kind of scopes, and the key after which the next page begins; None
    after the last."""
    rows = await tx.rows(
        "SELECT scope, window_key, value, extract(epoch FROM expires_at)::float8,"
        " expires_at > now() FROM router.counters"
        " WHERE cell = %s AND (scope, window_key) > (%s, %s) AND scope < %s"
        " ORDER BY scope, window_key LIMIT %s",
        (
            label_of(LimitScope(kind, ""), cell),
            *after,
            f"{kind}0",
            PAGE_ROWS,
        ),  # 0 comes after the slash
    )
    counters = [CounterRow._make(row[:4]) for row in rows if row[4]]
    return counters, (rows[-1][0], rows[-1][1]) if len(rows) == PAGE_ROWS else None


async def read_counters_of(tx: Transaction, scopes: Iterable[LimitScope]) -> list[CounterRow]:
    rows = await tx.rows(
        "SELECT scope, window_key, value, extract(epoch FROM expires_at)::float8"
        " FROM router.counters WHERE cell = %s AND scope = ANY(%s) AND expires_at > now()"
        " ORDER BY scope",
        (CELL, [scope.key for scope in scopes]),
    )
    return [CounterRow._make(row) for row in rows]


async def read_usage_of(tx: Transaction, scopes: Iterable[LimitScope]) -> list[CounterRow]:
    """As read_counters_of, of any scopes: what all cells together have used. Of a rate, that of the
    cell that has used most of its share."""
    rows = await tx.rows(
        "SELECT scope, window_key, (CASE WHEN strpos(window_key, '/') > 0 THEN sum(value)"
        " ELSE max(value) END)::bigint, max(extract(epoch FROM expires_at))::float8"
        " FROM router.counters WHERE cell = ANY(ARRAY(SELECT cell FROM router.cells))"
        " AND scope = ANY(%s) AND expires_at > now() GROUP BY 1, 2 ORDER BY scope",
        ([scope.key for scope in scopes],),
    )
    return [CounterRow._make(row) for row in rows]


async def scopes_below(tx: Transaction, high: str, count: int) -> list[str]:
    """The last scopes with counters that come before a scope, backwards."""
    rows = await tx.rows(
        "SELECT DISTINCT scope FROM router.counters WHERE cell = %s AND scope < %s"
        " AND expires_at > now() ORDER BY scope DESC LIMIT %s",
        (CELL, high, count),
    )
    return [scope for (scope,) in rows]


async def delete_expired(tx: Transaction) -> int:
    """Delete a batch of counters that no longer count. Returns their number."""
    return await tx.execute(
        "DELETE FROM router.counters WHERE ctid = ANY(ARRAY(SELECT ctid FROM router.counters"
        " WHERE cell = ANY(ARRAY(SELECT cell FROM router.cells)) AND expires_at < now()"
        " LIMIT %s))",
        (DELETE_BATCH_ROWS,),
    )
