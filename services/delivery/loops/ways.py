"""The ways out: per egress and site a queue, a few tasks that serve it, and kept connections."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from services.delivery.clients.smtp.dialogue import Dialogue
from services.delivery.domain.started import Started
from services.delivery.domain.walk import port_of

WIDEN_AFTER_S = 0.02  # a queue that is still there after that long gets another connection

Serve = Callable[["Way", Started], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Per way. idle_s: how long a connection is kept without work."""

    connections_max: int
    messages_per_connection_max: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class Kept:
    """A connection between two messages."""

    dialogue: Dialogue
    since_s: float


class Way:
    """One egress to one site. Connections are kept apart from the tasks that use them."""

    def __init__(self, serve: Serve, limits: Limits) -> None:
        self._serve = serve
        self._limits = limits
        self._waiting: deque[Started] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: list[Kept] = []
        self._widening: asyncio.TimerHandle | None = None
        self.in_use = 0  # connections that a task holds or opens

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._tasks or self._kept)

    def push(self, started: Started) -> None:
        self._waiting.append(started)
        if not self._tasks:
            self._spawn()
        elif self._widening is None and len(self._tasks) < self._limits.connections_max:
            loop = asyncio.get_running_loop()
            self._widening = loop.call_later(WIDEN_AFTER_S, self._widen)

    def _widen(self) -> None:
        """Fast receivers are served by few connections, slow ones by as many as are allowed."""
        self._widening = None
        room = self._limits.connections_max - len(self._tasks)
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

    def abandon(self) -> list[Started]:
        """Empty the queue: what has not begun is not begun any more."""
        left = list(self._waiting)
        self._waiting.clear()
        return left

    # ── connections ─────────────────────────────────────────────────────────────────────────────

    def take(self, assignment: DeliveryAssigned) -> Dialogue | None:
        """A kept connection to one of the hosts of a message, the last used one first."""
        hosts = {(one.host, port_of(one)) for one in assignment.exchangers}
        for index in range(len(self._kept) - 1, -1, -1):
            kept = self._kept[index]
            if not kept.dialogue.usable:
                del self._kept[index]
                kept.dialogue.abort()
            elif (kept.dialogue.peer.mx, kept.dialogue.port) in hosts:
                del self._kept[index]
                return kept.dialogue
        return None

    def make_room(self) -> None:
        """Before another connection is opened: those in use and those kept stay in the limit."""
        while self._kept and len(self._kept) + self.in_use >= self._limits.connections_max:
            self._kept.pop(0).dialogue.leave()

    def keep(self, dialogue: Dialogue) -> None:
        """Put a connection back, or close it when it has served enough or is of no use."""
        if dialogue.used >= self._limits.messages_per_connection_max or not dialogue.usable:
            dialogue.leave()
        else:
            self._kept.append(Kept(dialogue, clock.monotonic_s()))

    def close_idle(self, *, now_s: float) -> None:
        old = [kept for kept in self._kept if now_s - kept.since_s >= self._limits.idle_s]
        self._kept = [kept for kept in self._kept if now_s - kept.since_s < self._limits.idle_s]
        for kept in old:
            kept.dialogue.leave()

    def close_all(self) -> None:
        self.close_idle(now_s=float("inf"))

    async def done(self) -> None:
        """Return when all tasks have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """End its tasks where they are."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        for kept in self._kept:
            kept.dialogue.abort()
