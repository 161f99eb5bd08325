"""Retention: drops a day of the log some time after its last close, and deletes other
rows by age. The mail of accounts whose plan keeps it longer is left."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta

from kernel import clock
from kernel.clock_check import clocks_agree
from kernel.database import Database
from services.events.store import days, plan_retention

KeptLonger = Callable[[int], Awaitable[Mapping[str, int]]]
"""The accounts that are kept for more than so many days, with their days."""


class RetentionMaintenance:
    """The action of a loop; any number of replicas may run it at once."""

    def __init__(self, database: Database, *, log_days: int, kept_longer: KeptLonger) -> None:
        self._database = database
        self._log_days = log_days
        self._kept_longer = kept_longer
        self._days = days.LogDayPartitions()
        self._closed = days.closed_days(database, retention_days=log_days)
        self._kept = plan_retention.ExpiredMailStore(database)

    async def run_once(self) -> None:
        today = clock.now().date()
        async with self._database.transaction() as tx:
            existing = await self._days.existing(tx)
        if not await clocks_agree(self._database):
            return
        longer = await self._kept_longer(self._log_days)
        reduced = await self._kept.days()
        for day in existing:
            if day not in reduced and not await self._is_expired(day, today):
                break  # dropping a day drops the emails of the day before, so days go in order
            if kept := {one for one, number in longer.items() if number >= (today - day).days}:
                await self._kept.reduce(day, kept)
            else:
                await self._drop(day)
        await self._kept.delete_late(self._log_days, longer)
        for statement in days.DELETE_EXPIRED:
            await self._delete_expired(statement)

    async def _is_expired(self, day: date, today: date) -> bool:
        is_old = day < today - timedelta(days=self._log_days)
        return is_old and await self._closed.is_expired(day)

    async def _drop(self, day: date) -> None:
        self._closed.forget(day)
        async with self._database.transaction() as tx:
            await self._days.drop(tx, day)
            await plan_retention.forget(tx, day)

    async def _delete_expired(self, statement: str) -> None:
        deleted = 1
        while deleted:
            async with self._database.transaction() as tx:
                deleted = await days.delete_expired(tx, statement, retention_days=self._log_days)
