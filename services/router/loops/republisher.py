"""Publish assignments without an attempt result again: the same event, with the same id."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.errors import Fenced
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.topics import encode
from services.router.domain.events import delivery_assigned
from services.router.store import closings

BATCH_MAX = 500
# An assignment and its result pass these consumer groups.
CONSUMERS: tuple[tuple[str, type[Message]], ...] = (
    ("delivery", DeliveryAssigned),
    ("router-attempted", DeliveryAttempted),
)

logger = logging.getLogger(__name__)


class ConsumerProgress(Protocol):
    async def has_consumed(self, group: str, event: type[Message], *, before: datetime) -> bool: ...


@dataclass(frozen=True, slots=True)
class AssignmentRepublisher:
    """after_s: the first delay; it doubles each time, up to backoff_max_s.

    Nothing is republished while delivery or router lags behind the earlier records: no assignment
    is known to be lost then, and each copy, with a copy of its result, would add to the lag until
    all assignments are stale when they are read.
    """

    lease: Lease
    outbox: Outbox
    health: DependencyHealth
    progress: ConsumerProgress
    after_s: float
    backoff_max_s: float

    async def run_once(self) -> None:
        """Republish all assignments that are due, in batches."""
        if self.lease.fence is None or not await self._any_due() or not await self._have_consumed():
            return
        while self.lease.fence is not None and await self._republish_batch() == BATCH_MAX:
            pass

    async def _any_due(self) -> bool:
        try:
            async with self.lease.transaction() as tx:
                return await closings.any_republish_due(tx, self.lease.name)
        except Fenced:
            return False

    async def _have_consumed(self) -> bool:
        # A record is published some time after its assignment, so it is younger than after_s.
        before = clock.now() - timedelta(seconds=self.after_s / 2)
        for group, event in CONSUMERS:
            if not await self.progress.has_consumed(group, event, before=before):
                logger.info("republish.postponed", extra={"lagging_group": group})
                return False
        return True

    async def _republish_batch(self) -> int:
        try:
            async with self.lease.transaction() as tx:
                unanswered = await closings.republish_due(
                    tx,
                    self.lease.name,
                    after_s=self.after_s,
                    backoff_max_s=self.backoff_max_s,
                    rows=BATCH_MAX,
                )
                events = [delivery_assigned(row) for row in unanswered]
                now = clock.now()
                records = [encode(e, now, e.context.traceparent) for e in events]
                entry = await self.outbox.add(tx, records)
        except Fenced:
            return 0
        failpoint("router.republish.committed")
        with self.lease.publishing():
            await self.outbox.publish(entry, self.health)
        return len(unanswered)
