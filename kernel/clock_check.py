"""Whether the clock of this machine and that of PostgreSQL agree."""

import logging

from kernel import clock
from kernel.database import Database, Transaction

AGREE_WITHIN_S = 600.0

logger = logging.getLogger(__name__)


async def clock_ahead_s(tx: Transaction) -> float:
    """How far the clock of this machine is ahead of PostgreSQL's, to some milliseconds."""
    before_s = clock.now().timestamp()
    [(database_s,)] = await tx.rows("SELECT extract(epoch FROM clock_timestamp())::float8")
    middle_s = (before_s + clock.now().timestamp()) / 2
    return float(middle_s - database_s)


async def clocks_agree(database: Database) -> bool:
    """Nothing is deleted by its age if they do not: one of them is wrong, and what is deleted is
    gone. Raises Unavailable."""
    async with database.transaction() as tx:
        ahead_s = await clock_ahead_s(tx)
    if agree := abs(ahead_s) < AGREE_WITHIN_S:
        return agree
    logger.error("retention.clocks_differ", extra={"ahead_s": round(ahead_s)})
    return False
