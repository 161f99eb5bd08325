"""Partition maintenance: drops a day of the log some time after its last close, and deletes other
rows by age."""

from datetime import timedelta

from kernel import clock
from kernel.database import Database
from kernel.days import days_to_create
from services.events.store import days

AHEAD_DAYS = 2


class PartitionMaintenance:
    """The action of a loop; any number of replicas may run it at once."""

    def __init__(self, database: Database, *, log_days: int) -> None:
        self._database = database
        self._log_days = log_days
        self._days = days.LogDayPartitions()
        self._closed = days.closed_days(database, retention_days=log_days)

    async def run_once(self) -> None:
        today = clock.now().date()
        async with self._database.transaction() as tx:
            await self._days.ensure(tx, days_to_create(today, ahead=AHEAD_DAYS), today=today)
            existing = await self._days.existing(tx)
        for day in existing:
            if day >= today - timedelta(days=self._log_days) or not await self._closed.is_expired(
                day
            ):
                break  # dropping a day drops the emails of the day before, so days go in order
            self._closed.forget(day)
            async with self._database.transaction() as tx:
                await self._days.drop(tx, day)
        for statement in days.DELETE_EXPIRED:
            await self._delete_expired(statement)

    async def _delete_expired(self, statement: str) -> None:
        deleted = 1
        while deleted:
            async with self._database.transaction() as tx:
                deleted = await days.delete_expired(tx, statement, retention_days=self._log_days)
