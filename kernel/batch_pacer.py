"""Decides when the next batch starts: at once under light load, after a delay under load."""

import asyncio

from kernel import clock

BUSY_PER_S = 200.0  # items per second from which batches linger
EXPRESS_BUSY_PER_S = 60.0  # the same for express items, which do not wait for bulk
BUSY_S = 0.5  # after the turn of the next batch


class BatchPacer:
    """Spaces batches under load. A batch costs broker, database and this process as much as some
    twenty items, so a batch of ten costs little more than a batch of one.

    linger_s: maximum time from the start of a batch to the start of the next. busy_per_s: rate in
    items per second from which batches linger. Each item of a batch delays the next batch by
    1/busy_per_s: above that rate batches grow until they start linger_s apart, below it they shrink
    again, and a single item does not wait.
    """

    __slots__ = ("_gap_s", "_is_busy", "_linger_s", "_next_s", "_opening")

    def __init__(self, linger_s: float, *, busy_per_s: float = BUSY_PER_S) -> None:
        self._linger_s = linger_s
        self._gap_s = 1 / busy_per_s
        self._next_s = 0.0
        self._is_busy = False
        self._opening: asyncio.Event | None = None

    def start_batch(self, items: int) -> None:
        """Record that a batch has started, in its turn or earlier."""
        now_s = clock.monotonic_s()
        next_s = max(now_s, self._next_s) + items * self._gap_s
        self._is_busy = next_s >= now_s + self._linger_s
        self._next_s = min(next_s, now_s + self._linger_s)

    @property
    def is_busy(self) -> bool:
        """Whether batches start one linger apart, or did a moment ago."""
        return self._is_busy and self.wait_s > -BUSY_S

    @property
    def wait_s(self) -> float:
        """Seconds until the next batch may start; 0 or less: now."""
        return self._next_s - clock.monotonic_s()

    async def wait_turn(self) -> None:
        """Return when the next batch may start; all waiters return together."""
        if self._opening is None:
            if (wait_s := self.wait_s) <= 0:
                return
            self._opening = asyncio.Event()
            asyncio.get_running_loop().call_later(wait_s, self._open)
        await self._opening.wait()

    def _open(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.set()
