"""Ready queues: one per egress source and site, each served by a few tasks."""

import asyncio
from collections.abc import Awaitable, Callable

from services.delivery.clients.smtp.pool import ConnectionPool
from services.delivery.domain.owned_attempt import OwnedAttempt
from services.delivery.domain.priority_queue import PriorityQueue

ADD_TASKS_AFTER_S = 0.02  # a queue that is not empty by then gets more tasks

ProcessAttempt = Callable[["ReadyQueue", OwnedAttempt], Awaitable[None]]


class ReadyQueue:
    """The attempts from one egress source to one site. At most one per allowed connection runs, and
    one more of express mail: bulk mail that is being rendered, which takes its time on purpose,
    must not keep it out. The pool gives them their connections."""

    def __init__(self, process: ProcessAttempt, pool: ConnectionPool) -> None:
        self.pool = pool
        self._process = process
        self._queued = PriorityQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._add_timer: asyncio.TimerHandle | None = None
        self._express_running = 0

    @property
    def is_idle(self) -> bool:
        return not (self._queued or self._tasks) and self.pool.is_empty

    def enqueue(self, attempt: OwnedAttempt) -> None:
        self._queued.push(attempt)
        first_express = (
            attempt.is_express and not self._express_running and self._queued.express == 1
        )
        if not self._tasks or first_express:
            self._spawn()
        elif len(self._tasks) < self.pool.connections_max and self._add_timer is None:
            loop = asyncio.get_running_loop()
            self._add_timer = loop.call_later(ADD_TASKS_AFTER_S, self._add_tasks)

    def _add_tasks(self) -> None:
        """Use more connections if the queue is not empty yet: a fast server needs only a few."""
        self._add_timer = None
        spare = self.pool.connections_max - len(self._tasks)
        for _ in range(min(spare, len(self._queued))):
            self._spawn()

    def _spawn(self) -> None:
        task = asyncio.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._queued and not self._tasks:
            self._spawn()
        if not task.cancelled() and (error := task.exception()) is not None:
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "a delivery task failed", "exception": error})

    async def _run(self) -> None:
        while self._queued:
            is_extra = len(self._tasks) > self.pool.connections_max
            if is_extra and not self._queued.express:
                self._tasks.discard(asyncio.current_task())  # at once: others may ask now, too
                return
            attempt = self._queued.pop_express() if is_extra else self._queued.pop()
            self._express_running += attempt.is_express
            try:
                await self._process(self, attempt)
            finally:
                self._express_running -= attempt.is_express

    def drain(self) -> list[OwnedAttempt]:
        """Empty the queue, and return the attempts that had not begun."""
        removed = self._queued.clear()
        self.pool.drain()
        return removed

    async def wait_done(self) -> None:
        """Return when all tasks have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """Cancel its tasks."""
        self._queued.clear()
        for task in self._tasks:
            task.cancel()
        self.pool.drain()
