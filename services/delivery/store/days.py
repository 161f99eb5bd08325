"""The days of the journal: kept by their age, so that dedup outlives every message."""

from collections.abc import Iterable
from datetime import date, timedelta

from kernel import clock
from kernel.database import Database
from kernel.days import TablePartitions, around

AHEAD_DAYS = 2


class JournalDayPartitions:
    def __init__(self, database: Database, *, retention_days: int) -> None:
        self._database = database
        self._retention = timedelta(days=retention_days)
        self._days = TablePartitions("delivery", "attempts")

    async def ensure(self, days: Iterable[date]) -> set[date]:
        """Make those that are missing, in a transaction of their own. Those that are forgotten: a
        message of theirs could no longer be recognized as a repeat."""
        missing = self._days.missing(days)
        if not missing:
            return set()
        today = clock.now().date()
        forgotten = {
            day for day in missing if not timedelta(days=-2) <= today - day < self._retention
        }
        if wanted := missing - forgotten:
            async with self._database.transaction() as tx:
                await self._days.ensure(tx, wanted)
        return forgotten

    async def prepare(self) -> None:
        """Make those of the days to come."""
        await self.ensure(around(clock.now().date(), ahead=AHEAD_DAYS))

    async def drop(self) -> None:
        """Those that are older than any message can be."""
        async with self._database.transaction() as tx:
            there = await self._days.existing(tx)
        for day in there:
            if clock.now().date() - day > self._retention:
                async with self._database.transaction() as tx:
                    await self._days.drop(tx, day)
