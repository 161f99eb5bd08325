"""Room for tomorrow's attempts, and an end for what is old."""

from kernel.database import Database
from services.delivery.store import sandbox
from services.delivery.store.days import JournalDays


class Keeping:
    """A loop's action."""

    def __init__(self, database: Database, days: JournalDays, *, sandbox_kept_days: int) -> None:
        self._database = database
        self._days = days
        self._sandbox_kept_days = sandbox_kept_days

    async def keep(self) -> None:
        """Partitions are made before their day, so that no message waits for one."""
        await self._days.prepare()
        await self._days.drop()
        gone = 1
        while gone:
            async with self._database.transaction() as tx:
                gone = await sandbox.expire(tx, kept_days=self._sandbox_kept_days)
