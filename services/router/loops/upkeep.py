"""What is done seldom: days made and dropped, old windows forgotten, the directory told again."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from contracts.router.v1.directory_pb2 import Pool
from kernel import clock
from kernel.database import Database
from kernel.kafka import Kafka
from kernel.topics import encode
from services.router.store import directory, lanes, usage
from services.router.store.partitions import Partitions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Days:
    """ahead: days made in advance. kept: days that a day is kept after its last close."""

    database: Database
    partitions: Partitions
    ahead: int
    kept: int

    async def keep(self) -> None:
        today = clock.now().date()
        async with self.database.transaction() as tx:
            wanted = [today + timedelta(days=n) for n in range(-1, self.ahead + 1)]
            await self.partitions.make(tx, wanted)
            days = await self.partitions.existing(tx)
            await usage.forget(tx)
            await lanes.forget(tx)
        for day in (day for day in days if day < today - timedelta(days=self.kept)):
            async with self.database.transaction() as tx:
                if await self.partitions.drop_if_over(tx, day, closed_kept_days=self.kept):
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
