"""Schedules sends: a closed loop, or an open loop with a fixed rate. Independent of the
protocol."""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.load.latency import Latencies

Clock = Callable[[], float]
REFUSED_PAUSE_S = 0.05  # pause of a connection after a refusal


class Connection(ABC):
    """One connection to the contestant; it carries one message at a time."""

    @abstractmethod
    def send(self, serial: int) -> None:
        """Start sending; the end is reported by `driver.done` with this connection."""


@dataclass(frozen=True, slots=True)
class Plan:
    count: int  # minimum number of messages
    seconds: float = 0.0  # minimum duration
    rate: float = 0.0  # messages per second in the open loop; 0 is the closed loop
    backlog: int = 0  # maximum number of accepted but undelivered messages; 0 disables the limit
    first_serial: int = 0


@dataclass(slots=True)
class Driver:
    """Assigns serials to idle connections, and records when each was due and its outcome."""

    plan: Plan
    clock: Clock
    later: Callable[[float, Callable[[], None]], object]  # the loop's call_later
    latencies: Latencies = field(default_factory=Latencies)
    outcomes: Counter[str] = field(default_factory=Counter)
    accepted_at: dict[int, float] = field(default_factory=dict)
    idle: deque[Connection] = field(default_factory=deque)
    # due messages without a free connection
    waiting: deque[tuple[int, float]] = field(default_factory=deque)
    due: dict[Connection, tuple[int, float]] = field(default_factory=dict)
    delivered: int = 0
    sent: int = 0
    running: bool = False
    started_at: float = 0.0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reconnect: Callable[[], None] = lambda: None

    @property
    def accepted(self) -> int:
        return self.outcomes["accepted"]

    def join(self, connection: Connection) -> None:
        """Send the next message on this connection, or mark it idle."""
        if self.waiting:
            self.start(connection, *self.waiting.popleft())
        elif self.plan.rate or not self.can_send():
            self.idle.append(connection)
            self.end_when_done()
        else:
            self.start(connection, self.next_serial(), self.clock())

    def begin(self) -> None:
        """Start the clock after all connections are open."""
        self.running = True
        self.started_at = self.clock()
        self.wake(0)

    def can_send(self) -> bool:
        if not self.running:
            return False
        undelivered = self.accepted + len(self.due) - self.delivered
        room = not self.plan.backlog or undelivered < self.plan.backlog
        return room and not self.is_complete()

    def is_complete(self) -> bool:
        plan = self.plan
        long_enough = self.clock() - self.started_at >= plan.seconds
        return self.running and self.sent >= plan.count and long_enough

    def next_serial(self) -> int:
        self.sent += 1
        return self.plan.first_serial + self.sent - 1

    def start(self, connection: Connection, serial: int, due: float) -> None:
        self.due[connection] = (serial, due)
        connection.send(serial)

    def done(self, connection: Connection, outcome: str) -> None:
        """Record the outcome of a message: `accepted`, or the reason of the refusal."""
        serial, due = self.due.pop(connection)
        now = self.clock()
        self.outcomes[outcome] += 1
        if outcome == "accepted":
            self.latencies.add(now - due)
            self.accepted_at[serial] = now
            self.join(connection)
        else:
            self.later(REFUSED_PAUSE_S, lambda: self.join(connection))

    def lost(self, connection: Connection) -> None:
        """Replace a lost connection; its message, if any, counts as lost."""
        if connection in self.due:
            del self.due[connection]
            self.outcomes["lost"] += 1
        if connection in self.idle:
            self.idle.remove(connection)
        self.end_when_done()
        if not self.ended.is_set():
            self.reconnect()

    def wake(self, delivered: int) -> None:
        """Update the delivered count and restart connections that waited for it."""
        self.delivered = delivered
        while self.idle and not self.plan.rate and self.can_send():
            self.join(self.idle.popleft())
        self.end_when_done()

    def end_when_done(self) -> None:
        if not self.due and not self.waiting and self.is_complete():
            self.ended.set()

    async def tick(self) -> None:
        """The open loop: each message is due at its time, even if no connection is free."""
        plan = self.plan
        while not self.is_complete():
            at = self.started_at + self.sent / plan.rate
            await asyncio.sleep(max(0.0, at - self.clock()))
            serial = self.next_serial()
            if self.idle:
                self.start(self.idle.popleft(), serial, at)
            else:
                self.waiting.append((serial, at))
        self.end_when_done()
