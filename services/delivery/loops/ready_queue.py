"""Ready queues: one per egress source and site, each served by a few tasks."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK
from services.delivery.clients.smtp.pool import ConnectionPool
from services.delivery.domain.owned_attempt import OwnedAttempt

ADD_TASKS_AFTER_S = 0.02  # a queue that is not empty by then gets more tasks
EXPRESS_WEIGHT = 10  # attempts of express mail for one of bulk mail, while both wait

ProcessAttempt = Callable[["ReadyQueue", OwnedAttempt], Awaitable[None]]


class PriorityQueue:
    """Attempts in the order of their arrival; express mail before bulk, which never starves."""

    def __init__(self) -> None:
        self._express: deque[OwnedAttempt] = deque()
        self._bulk: deque[OwnedAttempt] = deque()
        self._passed = 0  # express attempts since bulk mail had a turn

    def __len__(self) -> int:
        return len(self._express) + len(self._bulk)

    def push(self, attempt: OwnedAttempt) -> None:
        is_bulk = attempt.assignment.context.priority == PRIORITY_BULK
        (self._bulk if is_bulk else self._express).append(attempt)

    def pop(self) -> OwnedAttempt:
        """Raises IndexError if it is empty."""
        if self._bulk and (not self._express or self._passed >= EXPRESS_WEIGHT):
            self._passed = 0
            return self._bulk.popleft()
        self._passed += bool(self._bulk)
        return self._express.popleft()

    def clear(self) -> list[OwnedAttempt]:
        """The attempts that were queued."""
        removed = [*self._express, *self._bulk]
        self._express.clear()
        self._bulk.clear()
        return removed


class ReadyQueue:
    """The attempts from one egress source to one site. At most one per allowed connection runs."""

    def __init__(self, process: ProcessAttempt, pool: ConnectionPool) -> None:
        self.pool = pool
        self._process = process
        self._queued = PriorityQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._add_timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        return not (self._queued or self._tasks) and self.pool.is_empty

    def enqueue(self, attempt: OwnedAttempt) -> None:
        self._queued.push(attempt)
        if not self._tasks:
            self._spawn()
        elif self._add_timer is None and len(self._tasks) < self.pool.connections_max:
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
            await self._process(self, self._queued.pop())

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
