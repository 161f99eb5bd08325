"""The owner's counters."""

from kernel.database import Transaction
from services.router.domain.message import CELL
from services.router.domain.windows import Saved

STEP_ROWS = 1_000  # of what is deleted in one transaction
PAGE_ROWS = 5_000

Place = tuple[str, str]
START: Place = ("", "")


async def page(tx: Transaction, after: Place) -> tuple[list[Saved], Place | None]:
    """The next counters, and where the page after them begins; None after the last."""
    rows = await tx.rows(
        "SELECT scope, window_key, value, extract(epoch FROM expires_at)::float8,"
        " expires_at > now() FROM router.counters"
        " WHERE cell = %s AND (scope, window_key) > (%s, %s) ORDER BY scope, window_key LIMIT %s",
        (CELL, *after, PAGE_ROWS),
    )
    saved = [Saved._make(row[:4]) for row in rows if row[4]]
    return saved, (rows[-1][0], rows[-1][1]) if len(rows) == PAGE_ROWS else None


async def forget(tx: Transaction) -> int:
    """Some of the windows that no longer count; how many."""
    return await tx.execute(
        "DELETE FROM router.counters WHERE ctid = ANY(ARRAY(SELECT ctid FROM router.counters"
        " WHERE cell = %s AND expires_at < now() LIMIT %s))",
        (CELL, STEP_ROWS),
    )
