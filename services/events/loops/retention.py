"""Forgetting: the log 30 days after the last close of a day, tasks and other facts by age."""

from datetime import timedelta

from kernel import clock
from kernel.database import Database
from services.events.store import days

AHEAD_DAYS = 2


class Retention:
    """One pass is one `keep`; any number of replicas may do it at once."""

    def __init__(self, database: Database, *, log_days: int) -> None:
        self._database = database
        self._log_days = log_days

    async def keep(self) -> None:
        today = clock.now().date()
        async with self._database.transaction() as tx:
            await days.make(tx, [today + timedelta(days=n) for n in range(-1, AHEAD_DAYS + 1)])
            there = sorted(await days.existing(tx))
            old = [day for day in there if day < today - timedelta(days=self._log_days)]
            gone = await days.droppable(tx, kept_days=self._log_days, oldest_first=old)
        for day in gone:
            async with self._database.transaction() as tx:
                await days.drop(tx, day)
        while await self._forget():
            pass

    async def _forget(self) -> int:
        async with self._database.transaction() as tx:
            return await days.forget(tx, kept_days=self._log_days)
