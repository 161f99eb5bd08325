"""State that all connection pools share: the limit of the process, idle times and deadlines."""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from kernel import clock
from mail import mx
from services.delivery.clients.mx_connector import MxConnector
from services.delivery.clients.smtp.session import SmtpSession


@dataclass(frozen=True, slots=True)
class ConnectionPoolConfig:
    """connections_max: per egress source and site; connections_total_max: in this process.

    idle_timeout_s: after which an idle connection is closed. attempt_timeout_s: for a message, from
    getting a connection to end of data. wait_max_s: how long messages wait for a busy host.
    """

    connections_max: int
    messages_per_connection_max: int
    idle_timeout_s: float
    attempt_timeout_s: float = 600.0
    wait_max_s: float = 3.0
    connections_total_max: int = 10_000


class MaintainedPool(Protocol):
    """The part of a pool that `ConnectionRegistry.maintain` uses."""

    def close_connection(self, session: SmtpSession) -> None:
        """Close one of its idle connections."""

    def serve_waiting(self, now_s: float) -> None:
        """Expire messages that wait too long, and open connections for the others."""


class ConnectionRegistry:
    """All SMTP connections of this process."""

    def __init__(self, mx_connector: MxConnector, config: ConnectionPoolConfig) -> None:
        self.mx_connector = mx_connector
        self.config = config
        # Pools with messages that wait for a connection.
        self.waiting_pools: dict[MaintainedPool, None] = {}
        self._total = 0
        self._idle: dict[SmtpSession, tuple[MaintainedPool, float]] = {}  # longest idle first
        self._in_use: dict[SmtpSession, float] = {}  # deadlines, oldest first
        self._mixed: Counter[tuple[str, str]] = Counter()

    def reserve(self) -> bool:
        """Reserve one connection, closing an idle one if needed; False at the limit."""
        if self._total >= self.config.connections_total_max:
            self._close_longest_idle()
        if self._total >= self.config.connections_total_max:
            return False
        self._total += 1
        return True

    def free(self) -> None:
        self._total -= 1

    def add_idle(self, session: SmtpSession, pool: MaintainedPool) -> None:
        self._idle[session] = (pool, clock.monotonic_s())

    def mark_in_use(self, session: SmtpSession) -> None:
        self._idle.pop(session, None)
        self._in_use[session] = clock.monotonic_s() + self.config.attempt_timeout_s

    def remove_deadline(self, session: SmtpSession) -> None:
        self._in_use.pop(session, None)

    def forget(self, session: SmtpSession) -> None:
        self._idle.pop(session, None)
        self._in_use.pop(session, None)

    # A mixed MX set lists hosts of several sites. All mixed sets together get half of a host's
    # connections, so that a domain cannot use them up by listing the host in its MX records.

    def reserve_mixed_site(self, egress_id: str, host: str) -> bool:
        key = (egress_id, mx.site_of([host]))
        if self._mixed[key] >= max(1, self.config.connections_max // 2):
            return False
        self._mixed[key] += 1
        return True

    def free_mixed_site(self, egress_id: str, host: str) -> None:
        key = (egress_id, mx.site_of([host]))
        self._mixed[key] -= 1
        if not self._mixed[key]:
            del self._mixed[key]

    def maintain(self) -> None:
        """Each second: close idle connections, abort late ones, and serve waiting messages."""
        now_s = clock.monotonic_s()
        for session, (pool, since_s) in list(self._idle.items()):
            if now_s - since_s < self.config.idle_timeout_s:
                break
            pool.close_connection(session)
        for session, until_s in list(self._in_use.items()):
            if now_s < until_s:
                break
            del self._in_use[session]
            session.abort(f"the message was not sent within {self.config.attempt_timeout_s:g} s")
        for pool in list(self.waiting_pools):
            pool.serve_waiting(now_s)

    def _close_longest_idle(self) -> None:
        for session, (pool, _) in self._idle.items():
            pool.close_connection(session)
            break
