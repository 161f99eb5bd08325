"""Deletes what is past its retention: the journal's day partitions, and other rows by age."""

from functools import partial

from kernel import clock
from kernel.clock_check import clocks_agree
from kernel.database import Database
from services.delivery.store import domain_reports, mta_sts, sandbox, tls_reports
from services.delivery.store.days import JournalDayPartitions


class RetentionMaintenance:
    """The action of a loop."""

    def __init__(
        self, database: Database, days: JournalDayPartitions, *, sandbox_retention_days: int
    ) -> None:
        self._database = database
        self._days = days
        self._sandbox_retention_days = sandbox_retention_days

    async def run_once(self) -> None:
        if not await clocks_agree(self._database):
            return
        await self._days.drop_expired()
        expire_captured = partial(sandbox.expire, retention_days=self._sandbox_retention_days)
        expire_figures = partial(domain_reports.expire, today=clock.now().date())
        for expire in (expire_captured, mta_sts.expire, tls_reports.expire, expire_figures):
            deleted = 1
            while deleted:
                async with self._database.transaction() as tx:
                    deleted = await expire(tx)
