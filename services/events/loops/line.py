"""The calls that wait for one endpoint here, so many of them at a time under way."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from kernel import clock
from services.events.domain.calls import Call

WAITING_MAX = 500


class Line:
    """A slow endpoint only fills its own line.

    call: makes a try to its end. A call that waited until its lease is nearly over is forgotten:
    it comes again, here or elsewhere.
    """

    def __init__(
        self, call: Callable[[Call], Awaitable[bool]], *, concurrency: int, lease_s: float
    ) -> None:
        self._call = call
        self._concurrency = concurrency
        self._keep_s = lease_s
        self._waiting: deque[tuple[float, Call]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self.broken = False

    @property
    def room(self) -> int:
        return max(0, WAITING_MAX - len(self._waiting) - len(self._running))

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._running

    def add(self, calls: Iterable[Call]) -> None:
        until = clock.monotonic_s() + self._keep_s
        self._waiting.extend((until, call) for call in calls)
        self.broken = False
        while self._waiting and len(self._running) < self._concurrency:
            self._start()

    def _start(self) -> None:
        task = asyncio.create_task(self._work())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _work(self) -> None:
        while self._waiting:
            until, call = self._waiting.popleft()
            if clock.monotonic_s() < until and not await self._call(call):
                self.broken = True
                self._waiting.clear()  # their leases end, and then a probe asks for them

    async def end(self) -> None:
        """Forget what waits, and let what runs come to its end."""
        self._waiting.clear()
        if self._running:
            await asyncio.wait(self._running)
