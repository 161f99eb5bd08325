"""Forgetting: the log 30 days after the last close of a day, tasks and other facts by age."""

from datetime import timedelta

from kernel import clock
from kernel.database import Database
from kernel.days import around
from services.events.store import days

AHEAD_DAYS = 2


class Retention:
    """One pass is one `keep`; any number of replicas may do it at once."""

    def __init__(self, database: Database, *, log_days: int) -> None:
        self._database = database
        self._log_days = log_days
        self._days = days.LogDays()
        self._closed = days.closed_days(database, kept_days=log_days)

    async def keep(self) -> None:
        today = clock.now().date()
        async with self._database.transaction() as tx:
            await self._days.ensure(tx, around(today, ahead=AHEAD_DAYS), today=today)
            there = await self._days.existing(tx)
        for day in there:
            if day >= today - timedelta(days=self._log_days) or not await self._closed.over(day):
                break  # the emails of the day before are gone with a day: one after the other
            self._closed.forget(day)
            async with self._database.transaction() as tx:
                await self._days.drop(tx, day)
        for statement in days.FORGET:
            await self._forget(statement)

    async def _forget(self, statement: str) -> None:
        gone = 1
        while gone:
            async with self._database.transaction() as tx:
                gone = await days.forget(tx, statement, kept_days=self._log_days)
