"""What all pools of connections share: the limit of the process, and the clock of what is open."""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from kernel import clock
from mail import mx
from services.delivery.clients.exchangers import Exchangers
from services.delivery.clients.smtp.dialogue import Dialogue


@dataclass(frozen=True, slots=True)
class Limits:
    """connections_max: per egress and site; connections_total_max: in this process.

    idle_s: how long a connection without work is kept. attempt_s: how long a message may have a
    connection before its dot. patience_s: how long messages wait for a host that is busy.
    """

    connections_max: int
    messages_per_connection_max: int
    idle_s: float
    attempt_s: float = 600.0
    patience_s: float = 3.0
    connections_total_max: int = 10_000


class Owner(Protocol):
    """A pool, as far as it is told of the time."""

    def close(self, dialogue: Dialogue) -> None:
        """An idle one of its own."""

    def look(self, now_s: float) -> None:
        """At what waits in it."""


class Connections:
    """Of this process."""

    def __init__(self, exchangers: Exchangers, limits: Limits) -> None:
        self.exchangers = exchangers
        self.limits = limits
        self.waiting: dict[Owner, None] = {}  # that have messages without a connection
        self._total = 0
        self._idle: dict[Dialogue, tuple[Owner, float]] = {}  # the longest first
        self._in_use: dict[Dialogue, float] = {}  # until when; the oldest first
        self._guests: Counter[tuple[str, str]] = Counter()

    def begin(self) -> bool:
        """Whether there is room for one more. Idle connections make some."""
        if self._total >= self.limits.connections_total_max:
            self._drop_oldest()
        if self._total >= self.limits.connections_total_max:
            return False
        self._total += 1
        return True

    def end(self) -> None:
        self._total -= 1

    def rest(self, dialogue: Dialogue, pool: Owner) -> None:
        self._idle[dialogue] = (pool, clock.monotonic_s())

    def use(self, dialogue: Dialogue) -> None:
        self._idle.pop(dialogue, None)
        self._in_use[dialogue] = clock.monotonic_s() + self.limits.attempt_s

    def lift_deadline(self, dialogue: Dialogue) -> None:
        self._in_use.pop(dialogue, None)

    def forget(self, dialogue: Dialogue) -> None:
        self._idle.pop(dialogue, None)
        self._in_use.pop(dialogue, None)

    # A mixed MX set is no host's own site. All of them together get half of what the own site
    # may have, so that naming somebody's host does not use up its connections.

    def take_guest(self, egress_id: str, host: str) -> bool:
        key = (egress_id, mx.site_of([host]))
        if self._guests[key] >= max(1, self.limits.connections_max // 2):
            return False
        self._guests[key] += 1
        return True

    def give_guest(self, egress_id: str, host: str) -> None:
        key = (egress_id, mx.site_of([host]))
        self._guests[key] -= 1
        if not self._guests[key]:
            del self._guests[key]

    def sweep(self) -> None:
        """Each second: close what is idle for long, end what takes too long, open what waits."""
        now_s = clock.monotonic_s()
        for dialogue, (pool, since_s) in list(self._idle.items()):
            if now_s - since_s < self.limits.idle_s:
                break
            pool.close(dialogue)
        for dialogue, until_s in list(self._in_use.items()):
            if now_s < until_s:
                break
            del self._in_use[dialogue]
            dialogue.abort(f"the message did not get to its end in {self.limits.attempt_s:g} s")
        for pool in list(self.waiting):
            pool.look(now_s)

    def _drop_oldest(self) -> None:
        for dialogue, (pool, _) in self._idle.items():
            pool.close(dialogue)
            break
