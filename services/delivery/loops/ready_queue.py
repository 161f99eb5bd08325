"""Ready queues: one per egress source and site, each with a few tasks that serve it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from services.delivery.clients.smtp.pool import ConnectionPool
from services.delivery.domain.owned_attempt import OwnedAttempt

WIDEN_AFTER_S = 0.02  # a queue that is still there after that long gets another task

Serve = Callable[["ReadyQueue", OwnedAttempt], Awaitable[None]]


class ReadyQueue:
    """One egress to one site. As many messages at a time as there may be connections."""

    def __init__(self, serve: Serve, pool: ConnectionPool) -> None:
        self.pool = pool
        self._serve = serve
        self._queued: deque[OwnedAttempt] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._widening: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        return not (self._queued or self._tasks) and self.pool.is_empty

    def enqueue(self, attempt: OwnedAttempt) -> None:
        self._queued.append(attempt)
        if not self._tasks:
            self._spawn()
        elif self._widening is None and len(self._tasks) < self.pool.connections_max:
            loop = asyncio.get_running_loop()
            self._widening = loop.call_later(WIDEN_AFTER_S, self._widen)

    def _widen(self) -> None:
        """Fast receivers are served by few connections, slow ones by as many as are allowed."""
        self._widening = None
        spare = self.pool.connections_max - len(self._tasks)
        for _ in range(min(spare, len(self._queued))):
            self._spawn()

    def _spawn(self) -> None:
        task = asyncio.create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._queued and not self._tasks:
            self._spawn()
        if not task.cancelled() and (error := task.exception()) is not None:
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "a sender failed", "exception": error})

    async def _work(self) -> None:
        while self._queued:
            await self._serve(self, self._queued.popleft())

    def drain(self) -> list[OwnedAttempt]:
        """Empty the queue: what has not begun is not begun any more."""
        left = list(self._queued)
        self._queued.clear()
        self.pool.drain()
        return left

    async def wait_done(self) -> None:
        """Return when all tasks have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """End its tasks where they are."""
        self._queued.clear()
        for task in self._tasks:
            task.cancel()
        self.pool.drain()
