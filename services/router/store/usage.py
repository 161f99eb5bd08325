"""The owner's counters."""

from kernel.database import Transaction
from services.router.domain.message import CELL
from services.router.domain.windows import Saved


async def load(tx: Transaction) -> list[Saved]:
    rows = await tx.rows(
        "SELECT scope, window_key, value, extract(epoch FROM expires_at)::float8"
        " FROM router.counters WHERE cell = %s AND expires_at > now()",
        (CELL,),
    )
    return [Saved._make(row) for row in rows]


async def forget(tx: Transaction) -> int:
    """Windows that no longer count."""
    return await tx.execute(
        "DELETE FROM router.counters WHERE cell = %s AND expires_at < now()", (CELL,)
    )
