"""Decides when the next batch starts: at once under light load, after a delay under load."""

import asyncio

from kernel import clock


class BatchPacer:
    """Spaces batches under load. A batch costs broker, database and this process as much as some
    twenty items, so a batch of ten costs little more than a batch of one.

    linger_s: maximum time from the start of a batch to the start of the next. busy_per_s: rate in
    items per second from which batches linger. Each item of a batch delays the next batch by
    1/busy_per_s: above that rate batches grow until they start linger_s apart, below it they shrink
    again, and a single item does not wait.
    """

    __slots__ = ("_gap_s", "_linger_s", "_next_s", "_opening")

    def __init__(self, linger_s: float, *, busy_per_s: float = 200.0) -> None:
        self._linger_s = linger_s
        self._gap_s = 1 / busy_per_s
        self._next_s = 0.0
        self._opening: asyncio.Event | None = None

    def start_batch(self, items: int) -> None:
        """Record that a batch has started."""
        self._next_s = clock.monotonic_s() + min(items * self._gap_s, self._linger_s)

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
