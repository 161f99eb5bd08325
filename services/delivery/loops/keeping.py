"""Room for tomorrow's attempts, and an end for what is old."""

from kernel import clock
from kernel.database import Database
from services.delivery.store.journal import Days
from services.delivery.store.sandbox import SandboxStore


class Keeping:
    """A loop's action."""

    def __init__(self, database: Database, days: Days, *, sandbox_kept_days: int) -> None:
        self._database = database
        self._days = days
        self._sandbox_kept_days = sandbox_kept_days
        self._sandbox = SandboxStore()

    async def keep(self) -> None:
        """Partitions are made before their day, so that no message waits for one."""
        now = clock.now()
        await self._days.prepare(now)
        await self._days.drop(now)
        async with self._database.transaction() as tx:
            await self._sandbox.expire(tx, kept_days=self._sandbox_kept_days)
