"""The ways out: per egress and site a queue, and a few tasks that serve it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from services.delivery.clients.smtp.pool import Pool
from services.delivery.domain.started import Started

WIDEN_AFTER_S = 0.02  # a queue that is still there after that long gets another task

Serve = Callable[["Way", Started], Awaitable[None]]


class Way:
    """One egress to one site. As many messages at a time as there may be connections."""

    def __init__(self, serve: Serve, pool: Pool) -> None:
        self.pool = pool
        self._serve = serve
        self._waiting: deque[Started] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._widening: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._tasks) and self.pool.empty

    def push(self, started: Started) -> None:
        self._waiting.append(started)
        if not self._tasks:
            self._spawn()
        elif self._widening is None and len(self._tasks) < self.pool.connections_max:
            loop = asyncio.get_running_loop()
            self._widening = loop.call_later(WIDEN_AFTER_S, self._widen)

    def _widen(self) -> None:
        """Fast receivers are served by few connections, slow ones by as many as are allowed."""
        self._widening = None
        room = self.pool.connections_max - len(self._tasks)
        for _ in range(min(room, len(self._waiting))):
            self._spawn()

    def _spawn(self) -> None:
        task = asyncio.create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._waiting and not self._tasks:
            self._spawn()
        if not task.cancelled() and (error := task.exception()) is not None:
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "a sender failed", "exception": error})

    async def _work(self) -> None:
        while self._waiting:
            await self._serve(self, self._waiting.popleft())

    def drain(self) -> list[Started]:
        """Empty the queue: what has not begun is not begun any more."""
        left = list(self._waiting)
        self._waiting.clear()
        self.pool.drain()
        return left

    async def done(self) -> None:
        """Return when all tasks have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """End its tasks where they are."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        self.pool.drain()
