"""When the next batch begins: at once while little comes, after a window under load."""

import asyncio

from kernel import clock


class BatchPacer:
    """A batch costs broker, database and this process as much as some twenty items: a batch of ten
    costs little more than a batch of one.

    linger_s: from the start of a batch to the start of the next, at most. busy_per_s: so many items
    in a second are the least that wait for each other. Each item of a batch puts the next one off
    by the time that one item has at that rate: above it batches grow until they are linger_s apart,
    below they shrink again, and who comes alone waits for nobody.
    """

    __slots__ = ("_gap_s", "_linger_s", "_next_s", "_opening")

    def __init__(self, linger_s: float, *, busy_per_s: float = 200.0) -> None:
        self._linger_s = linger_s
        self._gap_s = 1 / busy_per_s
        self._next_s = 0.0
        self._opening: asyncio.Event | None = None

    def start_batch(self, items: int) -> None:
        """A batch of so many has started."""
        self._next_s = clock.monotonic_s() + min(items * self._gap_s, self._linger_s)

    @property
    def wait_s(self) -> float:
        """How long until the next batch may start; 0 or less: now."""
        return self._next_s - clock.monotonic_s()

    async def wait_turn(self) -> None:
        """Return when the next batch may start, for all who wait in one moment."""
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
