"""What all pools of connections share: the limit of the process, and the clock of what is open."""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from kernel import clock
from mail import mx
from services.delivery.clients.mx_connector import MxConnector
from services.delivery.clients.smtp.session import SmtpSession


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """connections_max: per egress and site; connections_total_max: in this process.

    idle_s: how long a connection without work is kept. attempt_s: how long a message may have a
    connection before end of data. patience_s: how long messages wait for a host that is busy.
    """

    connections_max: int
    messages_per_connection_max: int
    idle_s: float
    attempt_s: float = 600.0
    patience_s: float = 3.0
    connections_total_max: int = 10_000


class ConnectionOwner(Protocol):
    """A pool, as the sweep sees it."""

    def close(self, session: SmtpSession) -> None:
        """An idle one of its own."""

    def sweep(self, now_s: float) -> None:
        """Expire and serve the messages that wait in it."""


class Connections:
    """Of this process."""

    def __init__(self, mx_connector: MxConnector, config: ConnectionConfig) -> None:
        self.mx_connector = mx_connector
        self.config = config
        self.waiting_pools: dict[
            ConnectionOwner, None
        ] = {}  # that have messages without a connection
        self._total = 0
        self._idle: dict[SmtpSession, tuple[ConnectionOwner, float]] = {}  # the longest first
        self._in_use: dict[SmtpSession, float] = {}  # until when; the oldest first
        self._guests: Counter[tuple[str, str]] = Counter()

    def reserve(self) -> bool:
        """Whether there is room for one more. Idle connections make some."""
        if self._total >= self.config.connections_total_max:
            self._drop_oldest()
        if self._total >= self.config.connections_total_max:
            return False
        self._total += 1
        return True

    def free(self) -> None:
        self._total -= 1

    def mark_idle(self, session: SmtpSession, pool: ConnectionOwner) -> None:
        self._idle[session] = (pool, clock.monotonic_s())

    def mark_in_use(self, session: SmtpSession) -> None:
        self._idle.pop(session, None)
        self._in_use[session] = clock.monotonic_s() + self.config.attempt_s

    def lift_deadline(self, session: SmtpSession) -> None:
        self._in_use.pop(session, None)

    def untrack(self, session: SmtpSession) -> None:
        self._idle.pop(session, None)
        self._in_use.pop(session, None)

    # A mixed MX set is no host's own site. All of them together get half of what the own site
    # may have, so that naming somebody's host does not use up its connections.

    def reserve_guest(self, egress_id: str, host: str) -> bool:
        key = (egress_id, mx.site_of([host]))
        if self._guests[key] >= max(1, self.config.connections_max // 2):
            return False
        self._guests[key] += 1
        return True

    def free_guest(self, egress_id: str, host: str) -> None:
        key = (egress_id, mx.site_of([host]))
        self._guests[key] -= 1
        if not self._guests[key]:
            del self._guests[key]

    def sweep(self) -> None:
        """Each second: close what is idle for long, end what takes too long, open what waits."""
        now_s = clock.monotonic_s()
        for session, (pool, since_s) in list(self._idle.items()):
            if now_s - since_s < self.config.idle_s:
                break
            pool.close(session)
        for session, until_s in list(self._in_use.items()):
            if now_s < until_s:
                break
            del self._in_use[session]
            session.abort(f"the message did not get to its end in {self.config.attempt_s:g} s")
        for pool in list(self.waiting_pools):
            pool.sweep(now_s)

    def _drop_oldest(self) -> None:
        for session, (pool, _) in self._idle.items():
            pool.close(session)
            break
