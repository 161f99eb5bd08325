"""The owner's counters."""

from collections.abc import Sequence

from kernel.database import Transaction
from services.router.domain.message import CELL
from services.router.domain.windows import Saved

SAVE = """
INSERT INTO router.counters AS held (cell, scope, window_key, value, expires_at)
SELECT %s, scope, window_key, value, to_timestamp(expires_s)
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::float8[])
    AS c (scope, window_key, value, expires_s)
ON CONFLICT (cell, scope, window_key)
DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
"""


async def load(tx: Transaction) -> list[Saved]:
    rows = await tx.rows(
        "SELECT scope, window_key, value, extract(epoch FROM expires_at)::float8"
        " FROM router.counters WHERE cell = %s AND expires_at > now()",
        (CELL,),
    )
    return [Saved._make(row) for row in rows]


async def save(tx: Transaction, changed: Sequence[Saved]) -> None:
    if changed:
        await tx.execute(
            SAVE,
            (
                CELL,
                [c.scope for c in changed],
                [c.window for c in changed],
                [c.value for c in changed],
                [c.expires_s for c in changed],
            ),
        )


async def forget(tx: Transaction) -> int:
    """Windows that no longer count."""
    return await tx.execute(
        "DELETE FROM router.counters WHERE cell = %s AND expires_at < now()", (CELL,)
    )
