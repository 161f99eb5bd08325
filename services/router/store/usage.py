"""The owner's counters."""

from kernel.database import Transaction
from services.router.domain.message import CELL
from services.router.domain.windows import Saved

STEP_ROWS = 1_000  # of what is deleted in one transaction


async def load(tx: Transaction) -> list[Saved]:
    rows = await tx.rows(
        "SELECT scope, window_key, value, extract(epoch FROM expires_at)::float8"
        " FROM router.counters WHERE cell = %s AND expires_at > now()",
        (CELL,),
    )
    return [Saved._make(row) for row in rows]


async def forget(tx: Transaction) -> int:
    """Some of the windows that no longer count; how many."""
    return await tx.execute(
        "DELETE FROM router.counters WHERE ctid = ANY(ARRAY(SELECT ctid FROM router.counters"
        " WHERE cell = %s AND expires_at < now() LIMIT %s))",
        (CELL, STEP_ROWS),
    )
