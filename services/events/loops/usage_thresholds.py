"""Publishes when an account has used a share of what its plan admits or includes, once each."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.events.v1.events_pb2 import UsageThresholdReached
from kernel import clock
from kernel.errors import Fenced
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.ids import NIL
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.prices import PriceBook
from kernel.topics import encode
from services.events.domain.usage import passed
from services.events.store.figures import thresholds
from services.events.store.figures.thresholds import AccountUsage, PassedThreshold

BATCH = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UsageThresholdPublisher:
    """The action of a loop. It does nothing without the lease.

    The thresholds that were passed are rows, and their events are in the outbox of the transaction
    that inserts the rows. plan_of: the id of the plan of an account; empty without one, and None
    while it is not known yet: then it is looked at again.
    """

    lease: Lease
    outbox: Outbox
    health: DependencyHealth
    prices: PriceBook
    plan_of: Callable[[str], str | None]

    async def run_once(self) -> None:
        after = str(NIL)
        try:
            while after and self.lease.fence is not None:
                after = await self._check_page(after)
        except Fenced:
            logger.info("usage.leader_changed")

    async def _check_page(self, after: str) -> str:
        """Returns the last account; empty at the end."""
        async with self.lease.transaction() as tx:
            page = await thresholds.load_unchecked(tx, after=after, limit=BATCH)
            known = [one for one in page if self.plan_of(one.account_id) is not None]
            reached = {PassedThreshold(one.account_id, one.month, event.percent): event
                       for one in known for event in self._reached(one)}  # fmt: skip
            new = await thresholds.insert_new(tx, sorted(reached))
            await thresholds.mark_checked(tx, known)
            events = [encode(reached[one], clock.now()) for one in sorted(new)]
            entry = await self.outbox.add(tx, events)
            failpoint("events.usage.in_transaction")
        await self.outbox.publish(entry, self.health)
        return page[-1].account_id if len(page) == BATCH else ""

    def _reached(self, one: AccountUsage) -> Sequence[UsageThresholdReached]:
        plan_id = self.plan_of(one.account_id) or ""
        plan = self.prices.find(plan_id, one.month)
        if plan is None:
            return ()
        found = []
        for percent, used, limit in passed(plan, accepted=one.accepted, sent=one.sent):
            event = UsageThresholdReached(
                account_id=one.account_id,
                meter=thresholds.SENDS,
                month=f"{one.month:%Y-%m}",
                percent=percent,
                used=used,
                limit=limit,
                plan=plan_id,
            )
            event.reached_at.FromDatetime(clock.now())
            found.append(event)
        return found
