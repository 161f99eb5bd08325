"""Connection pools. Messages wait for a connection; opening one is not part of an attempt.

A pool has the connections from one egress source to one site. Its limit starts low, grows with
every reply, and drops to the number of open connections when a host refuses another one.
"""

import asyncio
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import NamedTuple

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from mail import mx
from services.delivery.clients.mx_connector import NoConnection, result_without_connection
from services.delivery.clients.smtp.connections import ConnectionRegistry
from services.delivery.clients.smtp.dial_target import SocketAddress
from services.delivery.clients.smtp.session import SmtpSession
from services.delivery.clients.smtp.waiter import ConnectionWaiter
from services.delivery.domain.attempt_result import (
    CONNECT,
    SERVICE_CLOSING,
    STALE,
    AttemptResult,
)
from services.delivery.domain.host_policy import server_keeps_connection
from services.delivery.domain.pace import PaceLimiter
from services.delivery.domain.tls_policy import NO_POLICY, TlsPolicy

SANDBOX_SHARE_DIVISOR = 4  # a tenant gets this fraction of the connections to the sandbox
LIMIT_INITIAL = 2  # connections of a pool before the first reply
NO_OTHER_HOST = AttemptResult(CONNECT, problem="no other host to try")
NO_GROWTH_AFTER_421_S = 1.0  # after a 421 to a command, the limit does not grow for this long


class AttemptReleased(Exception):
    """This worker gives up an attempt without a result: nothing was sent or recorded."""


class ReadyQueueKey(NamedTuple):
    """Identifies a ready queue and its pool. tenant_id: set for test mail only, so that one tenant
    cannot use up the sandbox."""

    egress_id: str
    site: str
    tenant_id: str = ""


@dataclass(eq=False)
class ConnectionPool:
    """The connections from one egress source to one site; for test mail, of one tenant.

    messages_max: after which a connection is closed. limit: connections that are allowed now.
    """

    name: ReadyQueueKey
    shared: ConnectionRegistry
    connections_max: int = 0
    messages_max: int = 0
    limit: int = 0
    pace: PaceLimiter = field(default_factory=PaceLimiter)
    _idle: dict[SmtpSession, None] = field(default_factory=dict)
    _in_use: set[SmtpSession] = field(default_factory=set)
    _waiters: dict[ConnectionWaiter, None] = field(default_factory=dict)
    _opening: "set[asyncio.Task[None]]" = field(default_factory=set)
    _no_growth_until_s: float = 0.0

    @property
    def is_empty(self) -> bool:
        return not (self._idle or self._in_use or self._waiters or self._opening)

    @property
    def _size(self) -> int:
        return len(self._idle) + len(self._in_use) + len(self._opening)

    def apply_limits(self, assignment: DeliveryAssigned) -> None:
        """Apply the limits of the shaping rules in an assignment, with defaults from the config."""
        config = self.shared.config
        allowed = assignment.connections_max or config.connections_max
        shared = max(1, allowed // SANDBOX_SHARE_DIVISOR)
        self.connections_max = shared if self.name.tenant_id else allowed
        self.messages_max = (
            assignment.messages_per_connection_max or config.messages_per_connection_max
        )
        self.limit = min(self.limit or LIMIT_INITIAL, self.connections_max)
        self.pace.per_second = assignment.per_second_max

    # ── for a message ───────────────────────────────────────────────────────────────────────────

    async def acquire(
        self,
        assignment: DeliveryAssigned,
        *,
        tried: AbstractSet[SocketAddress],
        until_s: float,
        policy: TlsPolicy = NO_POLICY,
    ) -> SmtpSession:
        """Return an idle connection, or wait for the next one that becomes free or is opened.

        tried: hosts that have deferred the message. policy: what the connection must have.
        Raises NoConnection, and AttemptReleased when the process stops.
        """
        mx_connector = self.shared.mx_connector
        if tried and not await mx_connector.has_untried(assignment, tried, policy=policy):
            raise NoConnection(NO_OTHER_HOST)  # do not wait for a connection to learn that
        found: asyncio.Future[SmtpSession] = asyncio.get_running_loop().create_future()
        waiter = ConnectionWaiter(assignment, tried, until_s, found, policy)
        if (session := self._take_idle(waiter)) is not None:
            return session
        self._waiters[waiter] = self.shared.waiting_pools[self] = None
        self._open_more()
        try:
            return await found
        except asyncio.CancelledError:
            if found.done() and not found.cancelled() and found.exception() is None:
                self.drop(found.result())
            raise
        finally:
            self._remove_waiter(waiter)

    def release(self, session: SmtpSession, result: AttemptResult) -> None:
        """Return a connection after a message, for the next one if it can be used again."""
        is_spent = session.used >= self.messages_max
        if server_keeps_connection(result):
            self._grow()
        elif result.reply is not None and result.reply.code == SERVICE_CLOSING:
            self._shrink(clock.monotonic_s() + NO_GROWTH_AFTER_421_S, minus=1)
        if server_keeps_connection(result) and session.is_usable and not is_spent:
            self._in_use.discard(session)
            self._hand_over(session)
        else:
            session.quit_in_background()
            self._discard(session)
        self._open_more()

    def drop(self, session: SmtpSession) -> None:
        """Close a connection in the middle of a message."""
        session.abort()
        self._discard(session)
        self._open_more()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _take_idle(self, waiter: ConnectionWaiter) -> SmtpSession | None:
        """The idle connection to the best host; among several, the last used one."""
        best: SmtpSession | None = None
        for session in reversed(list(self._idle)):
            if not session.is_usable:
                self.close_connection(session)
            elif self._is_suitable(session, waiter):
                order = waiter.preference_of(session)
                if best is None or order < waiter.preference_of(best):
                    best = session
        if best is not None:
            self._use(best)
        return best

    def _is_suitable(self, session: SmtpSession, waiter: ConnectionWaiter) -> bool:
        """Whether the session reaches a host of the message, and no better host can be dialed. An
        open connection to a backup must not take precedence over a better host."""
        if not waiter.can_use(session):
            return False
        order, egress_id = waiter.preference_of(session), waiter.assignment.egress_id
        return not any(
            better < order
            and not self.shared.mx_connector.is_backed_off(
                egress_id, *at, requirement=waiter.policy.requirement(at[0])
            )
            for at, better in waiter.hosts.items()
        )

    def _use(self, session: SmtpSession) -> None:
        self._idle.pop(session, None)
        self._in_use.add(session)
        self.shared.mark_in_use(session)

    def _hand_over(self, session: SmtpSession, opened_for: ConnectionWaiter | None = None) -> None:
        """Give a connection to the next message that waits; if none waits, it is idle."""
        self.shared.forget(session)
        for waiter in self._by_priority():
            is_suitable = waiter is opened_for or self._is_suitable(session, waiter)
            if is_suitable and not waiter.found.done():
                self._remove_waiter(waiter)
                self._use(session)
                waiter.found.set_result(session)
                return
        self._idle[session] = None
        self.shared.add_idle(session, self)

    def _discard(self, session: SmtpSession) -> None:
        self._in_use.discard(session)
        self._idle.pop(session, None)
        self.shared.forget(session)
        self.free_slot(session.peer.mx)
        self._on_connection_freed()

    def _on_connection_freed(self) -> None:
        """Free a connection of the process, and let another pool use it."""
        self.shared.free()
        for pool in list(self.shared.waiting_pools)[:1]:
            if pool is not self:
                asyncio.get_running_loop().call_soon(pool.serve_waiting, clock.monotonic_s())

    def _grow(self) -> None:
        if self.limit < self.connections_max and clock.monotonic_s() >= self._no_growth_until_s:
            self.limit += 1

    def _shrink(self, until_s: float, *, minus: int = 0) -> None:
        self.limit = max(1, len(self._idle) + len(self._in_use) - minus)
        self._no_growth_until_s = until_s

    def _refuse(self, waiter: ConnectionWaiter, error: BaseException) -> None:
        self._remove_waiter(waiter)
        if waiter.refused and isinstance(error, NoConnection) and error.result is not STALE:
            error = NoConnection(waiter.refused)  # its connection counts
        if not waiter.found.done():
            waiter.found.set_exception(error)
            waiter.found.exception()  # mark it as retrieved: the message may no longer wait

    def _by_priority(self) -> list[ConnectionWaiter]:
        """Express mail first, and of each the one that has waited longest."""
        return sorted(self._waiters, key=lambda waiter: not waiter.is_express)

    def _remove_waiter(self, waiter: ConnectionWaiter) -> None:
        self._waiters.pop(waiter, None)
        if not self._waiters:
            self.shared.waiting_pools.pop(self, None)

    # ── opening ─────────────────────────────────────────────────────────────────────────────────

    def _open_more(self) -> None:
        now_s = clock.monotonic_s()
        for waiter in self._by_priority():
            if not waiter.opening and waiter.not_before_s <= now_s and self._reserve(waiter):
                waiter.opening = True
                task = asyncio.create_task(self._open(waiter))
                self._opening.add(task)

    def _reserve(self, waiter: ConnectionWaiter) -> bool:
        """Reserve a connection for a message; False at a limit. At the limit of the pool, an idle
        connection to another host is closed, unless a connection that the message can use is
        busy."""
        if self._size >= self.limit and not self._has_busy_session_for(waiter):
            for session in list(self._idle)[:1]:
                self.close_connection(session)
        return self._size < self.limit and self.shared.reserve()

    def _has_busy_session_for(self, waiter: ConnectionWaiter) -> bool:
        return any(waiter.can_use(session) for session in self._in_use)

    async def _open(self, waiter: ConnectionWaiter) -> None:
        task = asyncio.current_task()
        done = partial(self._opening.discard, task)
        try:
            session = await self.shared.mx_connector.connect(
                waiter.assignment, tried=waiter.tried, slots=self, policy=waiter.policy
            )
        except BaseException as error:
            done()
            waiter.opening = False
            self._on_connection_freed()
            self._on_open_failed(waiter, error)
            if not isinstance(error, Exception):
                raise
        else:
            done()
            waiter.opening = False
            self._hand_over(session, opened_for=waiter)
        self._open_more()

    def _on_open_failed(self, waiter: ConnectionWaiter, error: BaseException) -> None:
        """Keep the message waiting if a connection in use can serve it, or if the host is busy and
        may be tried again soon; otherwise refuse it and all that wait for the same hosts. If the
        message has tried some of these, only the others have failed."""
        if not isinstance(error, NoConnection) or waiter.tried:
            self._refuse(waiter, error)
            return
        if error.result.is_host_failure:  # of which all of the pool have need
            for other in [one for one in self._waiters if one is waiter or not one.opening]:
                self._refuse(other, error)
            return
        # A policy concerns this message, not the host; without a next try, there was none to dial.
        if not error.result.is_policy_failure and error.retry_at_s < inf:
            self._shrink(error.retry_at_s)
        if error.result.peer.connected:
            waiter.refused = error.result
        now_s = clock.monotonic_s()
        soon = error.busy and error.retry_at_s - now_s <= self.shared.config.wait_max_s
        if error.retry_at_s < inf and (soon or self._has_busy_session_for(waiter)):
            waiter.not_before_s = error.retry_at_s
            return
        self._refuse(waiter, error)
        result = result_without_connection(error.result)
        for other in list(self._waiters_for_same_hosts(waiter)):
            self._refuse(other, NoConnection(result, retry_at_s=error.retry_at_s, busy=error.busy))

    def _waiters_for_same_hosts(self, waiter: ConnectionWaiter) -> Iterator[ConnectionWaiter]:
        """The other messages that wait for the same hosts, with the same policy."""
        wanted = (waiter.hosts, waiter.policy)
        for other in self._waiters:
            is_same = other is not waiter and (other.hosts, other.policy) == wanted
            if is_same and not other.opening:
                yield other

    def reserve_slot(self, name: str) -> bool:
        return not mx.is_mixed_site(self.name.site) or self.shared.reserve_mixed_site(
            self.name.egress_id, name
        )

    def free_slot(self, name: str) -> None:
        if mx.is_mixed_site(self.name.site):
            self.shared.free_mixed_site(self.name.egress_id, name)

    # ── the clock ───────────────────────────────────────────────────────────────────────────────

    def serve_waiting(self, now_s: float) -> None:
        """Expire messages that have waited too long, and open the connections that are due."""
        for waiter in list(self._waiters):
            if now_s >= waiter.until_s:
                self._refuse(waiter, NoConnection(STALE))
        self._open_more()

    def close_connection(self, session: SmtpSession) -> None:
        """Close an idle connection with QUIT."""
        session.quit_in_background()
        self._discard(session)

    def drain(self) -> None:
        """Release all waiting messages, and close idle connections."""
        for waiter in list(self._waiters):
            self._refuse(waiter, AttemptReleased("stopping"))
        for task in self._opening:
            task.cancel()
        for session in list(self._idle):
            self.close_connection(session)
