"""Periodic maintenance: day partitions, expired counters, strikes and suppressions, the egress
directory."""

import logging
from collections.abc import Awaitable, Callable
from datetime import date, timedelta

from contracts.router.v1.directory_pb2 import Pool
from kernel import clock
from kernel.clock_check import clocks_agree
from kernel.database import Database, Transaction
from kernel.kafka import Kafka
from kernel.topics import encode
from services.router.store import directory, policies, queues, strikes, suppressions, usage
from services.router.store.day_partitions import DayPartitions, closed_days

logger = logging.getLogger(__name__)

DeleteStep = Callable[[Transaction], Awaitable[int]]


class RetentionMaintenance:
    """The scheduler drops the old days, and deletes other rows by age.

    retention_days: how long a day is kept after its last close.
    """

    def __init__(
        self,
        database: Database,
        partitions: DayPartitions,
        *,
        retention_days: int,
        is_leader: Callable[[], bool],
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._retention = timedelta(days=retention_days)
        self._closed = closed_days(database, retention_days=retention_days)
        self._is_leader = is_leader

    async def run_once(self) -> None:
        if not self._is_leader() or not await clocks_agree(self._database):
            return
        steps = (
            usage.delete_expired,
            queues.delete_idle,
            strikes.delete_old,
            suppressions.delete_expired,
            policies.delete_old,
        )
        for step in steps:
            await self._repeat(step)
        today = clock.now().date()
        async with self._database.transaction() as tx:
            existing = await self._partitions.days.existing(tx)
        for day in existing:
            if day < today - self._retention and await self._closed.is_expired(day):
                await self._drop(day)

    async def _repeat(self, step: DeleteStep) -> None:
        """Delete some rows in a transaction, until none remains."""
        deleted = 1
        while deleted:
            async with self._database.transaction() as tx:
                deleted = await step(tx)

    async def _drop(self, day: date) -> None:
        async with self._database.transaction() as tx:
            await self._partitions.drop_permanently(tx, day)
        self._closed.forget(day)
        logger.info("router.day_dropped", extra={"day": str(day)})


class EgressPublisher:
    """Publishes pools and egress sources at the start, and again when their topic is empty."""

    def __init__(self, database: Database, kafka: Kafka) -> None:
        self._database = database
        self._kafka = kafka
        self._is_published = False

    async def publish(self) -> None:
        if self._is_published and (await self._kafka.end_offsets(Pool))[0] > 0:
            return
        async with self._database.transaction() as tx:
            entries = [*await directory.load_pools(tx), *await directory.load_all_sources(tx)]
        now = clock.now()
        await self._kafka.publish([encode(entry, now) for entry in entries])
        self._is_published = True
