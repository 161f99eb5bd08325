"""Folds the deltas of figures into roll-ups, and deletes old roll-ups. One process at a time."""

import logging
from dataclasses import dataclass

from kernel import clock
from kernel.errors import Fenced
from kernel.failpoint import failpoint
from kernel.lease import Lease
from services.events.domain.figures.definitions import DAYS_KEPT_DAYS, HOURS_KEPT_DAYS
from services.events.domain.figures.facts import HOUR_MS
from services.events.domain.usage import MONTHS_KEPT, earlier
from services.events.store.figures import folding, usage

BATCH = 5_000
EXPIRED_BATCH = 1_000
# A fold costs by the rows of roll-ups that change, and a busy second changes the same rows as the
# next one. So after many deltas the loop rests longer.
DELTAS_PER_S = 200
REST_MAX_S = 5.0
TABLES = {
    "hour": "hour", "hour_times": "hour", "day": "day", "day_times": "day", "values": "day"
}  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RollUpFolding:
    """The actions of two loops. They do nothing without the lease."""

    lease: Lease
    _next_s: float = 0.0

    async def run_once(self) -> None:
        """Fold all deltas, unless it is time to rest."""
        if self.lease.fence is None or clock.monotonic_s() < self._next_s:
            return
        total = 0
        try:
            while self.lease.fence is not None:
                total += (folded := await self._fold())
                if folded < BATCH:
                    break
        except Fenced:
            logger.info("figures.leader_changed")
        self._next_s = clock.monotonic_s() + min(total / DELTAS_PER_S, REST_MAX_S)

    async def _fold(self) -> int:
        """Fold the next deltas; returns how many."""
        async with self.lease.transaction() as tx:
            folded = await folding.fold_deltas(tx, BATCH)
            failpoint("events.figures.in_transaction")
        failpoint("events.figures.committed")
        return folded

    async def delete_expired(self) -> None:
        today = clock.now_ms() // HOUR_MS // 24
        before = {"hour": (today - HOURS_KEPT_DAYS) * 24, "day": today - DAYS_KEPT_DAYS}
        for table, span in TABLES.items():
            deleted = EXPIRED_BATCH
            while self.lease.fence is not None and deleted == EXPIRED_BATCH:
                async with self.lease.transaction() as tx:
                    deleted = await folding.delete_expired(
                        tx, table, span=span, before=before[span], limit=EXPIRED_BATCH
                    )
        month = earlier(clock.now().date().replace(day=1), MONTHS_KEPT)
        for table in usage.TABLES:
            deleted = EXPIRED_BATCH
            while self.lease.fence is not None and deleted == EXPIRED_BATCH:
                async with self.lease.transaction() as tx:
                    deleted = await usage.delete_expired(
                        tx, table, before=month, limit=EXPIRED_BATCH
                    )
