"""The calls that wait for one endpoint here, so many of them at a time under way."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from kernel import clock
from services.events.domain.calls import Call

WAITING_MAX = 500

logger = logging.getLogger(__name__)


class Line:
    """A slow endpoint only fills its own line.

    call: makes a try to its end; False when no more should follow for now. give_back: what waits
    then. A call that waited until its lease is nearly over is forgotten: it comes again, here or
    elsewhere.
    """

    def __init__(
        self,
        call: Callable[[Call], Awaitable[bool]],
        give_back: Callable[[Sequence[Call]], Awaitable[None]],
        *,
        concurrency: int,
        lease_s: float,
    ) -> None:
        self._call = call
        self._give_back = give_back
        self._concurrency = concurrency
        self._keep_s = lease_s
        self._waiting: deque[tuple[float, Call]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> int:
        return max(0, WAITING_MAX - len(self._waiting) - len(self._running))

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._running

    def add(self, calls: Iterable[Call]) -> None:
        until = clock.monotonic_s() + self._keep_s
        self._waiting.extend((until, call) for call in calls)
        for _ in range(min(len(self._waiting), self._concurrency - len(self._running))):
            task = asyncio.create_task(self._work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _work(self) -> None:
        while self._waiting:
            until, call = self._waiting.popleft()
            if clock.monotonic_s() >= until:
                continue
            try:
                more = await self._call(call)
            except asyncio.CancelledError:  # it says nothing of the endpoint
                await self._give_back([call])
                raise
            except Exception:  # its lease ends, and it comes again
                logger.exception("a webhook call failed", extra={"id": call.id})
                continue
            if not more:
                await self._empty()

    async def _empty(self) -> None:
        left = [call for _, call in self._waiting]
        self._waiting.clear()
        if left:
            await self._give_back(left)

    async def end(self) -> None:
        """Give back what waits, and let what runs come to its end; who has no time for that cancels
        us, and then what runs is given back as well."""
        await self._empty()
        await asyncio.gather(*self._running, return_exceptions=True)
