"""Closes messages whose time has passed."""

import logging
from collections.abc import Sequence

from contracts.router.v1.events_pb2 import MessageClosed
from kernel import clock, metrics
from kernel.database import Transaction
from kernel.lease import Lease
from services.router.domain.events import ClosedRow, message_closed
from services.router.domain.expiry import expire
from services.router.store import closings

EXPIRED_MAX = 500  # in one tick
IDLE_MAX_S = 600.0
GRACE_S = 3600.0

logger = logging.getLogger(__name__)


class MessageExpiry:
    """A part of a tick, once per interval. If nobody was the scheduler for long, because all
    processes were down or the database's clock has jumped, each message is first tried."""

    def __init__(self, lease: Lease, interval_s: float) -> None:
        self._lease = lease
        self._interval_s = interval_s
        self._done_at_s = 0.0
        self._fence: int | None = None
        self._paused_until_s = 0.0

    async def run_once(self, tx: Transaction) -> list[MessageClosed]:
        """The events of those that it has closed."""
        now_s = clock.monotonic_s()
        if self._lease.fence != self._fence:
            self._fence = self._lease.fence
            if (idle_s := self._lease.idle_s) > IDLE_MAX_S:
                self._paused_until_s = now_s + GRACE_S
                logger.warning("scheduler.was_away", extra={"seconds": round(idle_s)})
        if now_s < max(self._paused_until_s, self._done_at_s + self._interval_s):
            return []
        rows = await closings.select_expired(tx, self._lease.name, limit=EXPIRED_MAX)
        if len(rows) < EXPIRED_MAX:
            self._done_at_s = clock.monotonic_s()
        return closed_events(await closings.close(tx, [expire(row) for row in rows]))


def closed_events(closed_messages: Sequence[ClosedRow]) -> list[MessageClosed]:
    for closed_message in closed_messages:
        metrics.closed.labels(closed_message.state).inc()
    return [message_closed(closed_message) for closed_message in closed_messages]
