"""Publish assignments without an attempt result again: the same event, with the same id."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class AssignmentRepublisher:
    """after_s: the first delay; it doubles each time, up to backoff_max_s."""

    lease: Lease
    outbox: Outbox
    health: DependencyHealth
    after_s: float
    backoff_max_s: float

    async def run_once(self) -> None:
        """Republish all assignments that are due, in batches."""
        while self.lease.fence is not None and await self._republish_batch() == BATCH_MAX:
            pass

    async def _republish_batch(self) -> int:
        try:
            async with self.lease.transaction() as tx:
                unanswered = await closings.republish_due(
                    tx, after_s=self.after_s, backoff_max_s=self.backoff_max_s, rows=BATCH_MAX
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
