"""Closes messages whose time has passed."""

from collections.abc import Sequence

from contracts.router.v1.events_pb2 import MessageClosed
from kernel import clock, metrics
from kernel.database import Transaction
from services.router.domain.events import ClosedMessage, message_closed
from services.router.domain.expiry import expire
from services.router.store import closings

EXPIRED_MAX = 500  # in one tick


class MessageExpiry:
    """A part of a tick, once per interval."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._done_at_s = 0.0

    async def run_once(self, tx: Transaction) -> list[MessageClosed]:
        """The events of those that it has closed."""
        if clock.monotonic_s() - self._done_at_s < self._interval_s:
            return []
        rows = await closings.select_expired(tx, limit=EXPIRED_MAX)
        if len(rows) < EXPIRED_MAX:
            self._done_at_s = clock.monotonic_s()
        return closed_events(await closings.close(tx, [expire(row) for row in rows]))


def closed_events(closed_messages: Sequence[ClosedMessage]) -> list[MessageClosed]:
    for closed_message in closed_messages:
        metrics.closed.labels(closed_message.state).inc()
    return [message_closed(closed_message) for closed_message in closed_messages]
