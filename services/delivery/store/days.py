"""Day partitions of the journal, dropped by age, so that deduplication outlives every message."""

from collections.abc import Iterable
from datetime import date, timedelta

from kernel import clock
from kernel.database import Database
from kernel.days import DAYS_AHEAD, TablePartitions, create_coming_days

TABLES = ("attempts",)
AHEAD = timedelta(days=DAYS_AHEAD)


class JournalDayPartitions:
    def __init__(self, database: Database, *, retention_days: int) -> None:
        self._database = database
        self._retention = timedelta(days=retention_days)
        self._days = TablePartitions("delivery", *TABLES)

    async def ensure(self, days: Iterable[date]) -> set[date]:
        """Create missing partitions, in their own transaction. Returns the days past retention:
        their partitions are dropped, so a repeated assignment could not be recognized."""
        missing = self._days.missing(days)
        if not missing:
            return set()
        today = clock.now().date()
        expired = {day for day in missing if not -AHEAD <= today - day < self._retention}
        if needed := missing - expired:
            async with self._database.transaction() as tx:
                await self._days.ensure(tx, needed)
        return expired

    async def create_coming(self) -> None:
        """Create the partitions of the coming days."""
        await create_coming_days(self._database, "delivery", self._days.ensure)

    async def drop_expired(self) -> None:
        """Drop the partitions that are past retention."""
        async with self._database.transaction() as tx:
            existing = await self._days.existing(tx)
        for day in existing:
            if clock.now().date() - day > self._retention:
                async with self._database.transaction() as tx:
                    await self._days.drop(tx, day)
