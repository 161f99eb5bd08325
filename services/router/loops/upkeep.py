"""What is done seldom: days made and dropped, old windows forgotten, the directory told again."""

import logging
from collections.abc import Awaitable, Callable
from datetime import date, timedelta

from contracts.router.v1.directory_pb2 import Pool
from kernel import clock
from kernel.database import Database, Transaction
from kernel.days import around
from kernel.kafka import Kafka
from kernel.topics import encode
from services.router.store import directory, lanes, suppressions, usage
from services.router.store.partitions import Partitions, closed_days

logger = logging.getLogger(__name__)


Step = Callable[[Transaction], Awaitable[int]]


class Upkeep:
    """Every replica makes the days ahead; the owner removes what is over.

    kept_days: that a day is kept after its last close.
    """

    def __init__(
        self,
        database: Database,
        partitions: Partitions,
        *,
        ahead_days: int,
        kept_days: int,
        owns: Callable[[], bool],
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._ahead_days = ahead_days
        self._kept = timedelta(days=kept_days)
        self._closed = closed_days(database, kept_days=kept_days)
        self._owns = owns

    async def keep(self) -> None:
        days, today = self._partitions.days, clock.now().date()
        async with self._database.transaction() as tx:
            await days.ensure(tx, around(today, ahead=self._ahead_days))
            there = await days.existing(tx)
        if not self._owns():
            return
        for step in (usage.forget, lanes.forget, suppressions.forget_feedback):
            await self._repeat(step)
        for day in there:
            if day < today - self._kept and await self._closed.over(day):
                await self._drop(day)

    async def _repeat(self, step: Step) -> None:
        """Some rows in a transaction, until there are none."""
        gone = 1
        while gone:
            async with self._database.transaction() as tx:
                gone = await step(tx)

    async def _drop(self, day: date) -> None:
        async with self._database.transaction() as tx:
            await self._partitions.drop(tx, day)
        self._closed.forget(day)
        logger.info("router.day_dropped", extra={"day": str(day)})


class Directory:
    """Tells pools and egresses at the start, and again when a fresh broker knows none."""

    def __init__(
        self, database: Database, kafka: Kafka, *, end_of: Callable[[], Awaitable[int]]
    ) -> None:
        self._database = database
        self._kafka = kafka
        self._end_of = end_of
        self._told = False

    async def tell(self) -> None:
        if self._told and await self._end_of() > 0:
            return
        async with self._database.transaction() as tx:
            entries = [*await directory.all_pools(tx), *await directory.all_egresses(tx)]
        now = clock.now()
        await self._kafka.publish([encode(entry, now) for entry in entries])
        self._told = True


def end_of_pools(kafka: Kafka) -> Callable[[], Awaitable[int]]:
    return lambda: kafka.end_of(Pool)
