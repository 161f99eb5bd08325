"""Assignments that were not answered in time are told again: the same fact, with the same id."""

from dataclasses import dataclass

from kernel import clock
from kernel.backoff import Health
from kernel.errors import Fenced
from kernel.failpoint import failpoint
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.topics import encode
from services.router.domain.facts import assigned
from services.router.store import closings

ROWS_MAX = 500


@dataclass(frozen=True, slots=True)
class Asking:
    """after_s: the first wait, that doubles each time, up to most_s."""

    lease: Lease
    outbox: Outbox
    health: Health
    after_s: float
    most_s: float

    async def ask(self) -> None:
        """All that are due, in groups."""
        while self.lease.fence is not None and await self._ask_some() == ROWS_MAX:
            pass

    async def _ask_some(self) -> int:
        try:
            async with self.lease.transaction() as tx:
                asked = await closings.ask_again(
                    tx, after_s=self.after_s, most_s=self.most_s, rows=ROWS_MAX
                )
                events = [assigned(row) for row in asked]
                now = clock.now()
                records = [encode(e, now, e.envelope.traceparent) for e in events]
                entry = await self.outbox.add(tx, records)
        except Fenced:
            return 0
        failpoint("router.reask.committed")
        with self.lease.telling():
            await self.outbox.publish(entry, self.health)
        return len(asked)
