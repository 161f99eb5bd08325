"""Room for tomorrow's attempts, and an end for what is old."""

from kernel.database import Database
from services.delivery.store import sandbox
from services.delivery.store.days import JournalDayPartitions


class PartitionMaintenance:
    """A loop's action."""

    def __init__(
        self, database: Database, days: JournalDayPartitions, *, sandbox_retention_days: int
    ) -> None:
        self._database = database
        self._days = days
        self._sandbox_retention_days = sandbox_retention_days

    async def run_once(self) -> None:
        """Partitions are made before their day, so that no message waits for one."""
        await self._days.prepare()
        await self._days.drop()
        gone = 1
        while gone:
            async with self._database.transaction() as tx:
                gone = await sandbox.expire(tx, retention_days=self._sandbox_retention_days)
