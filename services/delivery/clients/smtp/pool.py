"""The connections of this process. Messages wait for one; opening one is no message's attempt.

A pool has the connections of one egress to one site. How many there may be begins low, grows with
every answer, and goes down to what is open when a host refuses another.
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
from services.delivery.clients.mx_connector import NoConnection, without_connection
from services.delivery.clients.smtp.connections import Connections
from services.delivery.clients.smtp.dial import SocketAddress
from services.delivery.clients.smtp.session import SmtpSession
from services.delivery.domain.attempt_result import SERVICE_CLOSING, STALE, AttemptResult
from services.delivery.domain.host_policy import is_connection_reusable, port_of

TEST_SHARE = 4  # a tenant gets this part of the sandbox's connections
FIRST = 2  # connections that a pool may have before anybody has answered
REFUSED_FOR_S = 1.0  # how long no connection is added after a 421 to a command


class AttemptReleased(Exception):
    """The message is not ours to send, or not now: nothing was delivered or recorded."""


class ReadyQueueKey(NamedTuple):
    """Of a pool. tenant_id: of test mail, so that nobody's fills the sandbox; else empty."""

    egress_id: str
    site: str
    tenant_id: str = ""


@dataclass(eq=False, slots=True)
class Waiter:
    """A message without a connection. tried: addresses that had their chance. until_s: later it
    is too late. not_before_s: before that no connection is opened for it."""

    assignment: DeliveryAssigned
    tried: AbstractSet[SocketAddress]
    until_s: float
    hosts: dict[tuple[str, int], int]  # with their preferences
    found: "asyncio.Future[SmtpSession]"
    opening: bool = False
    not_before_s: float = 0.0


@dataclass(eq=False)
class ConnectionPool:
    """Of one egress to one site; in the sandbox, of one tenant. messages_max: of a connection, then
    it is closed. limit: how many connections there may be just now."""

    name: ReadyQueueKey
    shared: Connections
    connections_max: int = 0
    messages_max: int = 0
    limit: int = 0
    _idle: dict[SmtpSession, None] = field(default_factory=dict)
    _in_use: set[SmtpSession] = field(default_factory=set)
    _waiters: dict[Waiter, None] = field(default_factory=dict)
    _opening: "set[asyncio.Task[None]]" = field(default_factory=set)
    _grows_s: float = 0.0

    @property
    def is_empty(self) -> bool:
        return not (self._idle or self._in_use or self._waiters or self._opening)

    @property
    def _size(self) -> int:
        return len(self._idle) + len(self._in_use) + len(self._opening)

    def apply_limits(self, assignment: DeliveryAssigned) -> None:
        """As the rules for its site say now; what they leave open is as the process is set up."""
        config = self.shared.config
        most = assignment.connections_max or config.connections_max
        self.connections_max = max(1, most // TEST_SHARE) if self.name.tenant_id else most
        self.messages_max = (
            assignment.messages_per_connection_max or config.messages_per_connection_max
        )
        self.limit = min(self.limit or FIRST, self.connections_max)

    # ── for a message ───────────────────────────────────────────────────────────────────────────

    async def acquire(
        self, assignment: DeliveryAssigned, *, tried: AbstractSet[SocketAddress], until_s: float
    ) -> SmtpSession:
        """An idle connection at once, else the next one that is free or opened.

        Raises NoConnection, and AttemptReleased when the process ends.
        """
        hosts = {(one.host, port_of(one)): one.preference for one in assignment.mx_hosts}
        found: asyncio.Future[SmtpSession] = asyncio.get_running_loop().create_future()
        waiter = Waiter(assignment, tried, until_s, hosts, found)
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
            self._forget(waiter)

    def release(self, session: SmtpSession, result: AttemptResult) -> None:
        """After a message: for the next one, as long as the server leaves it usable."""
        spent = session.used >= self.messages_max
        if is_connection_reusable(result):
            self._grow()
        elif result.reply is not None and result.reply.code == SERVICE_CLOSING:
            self._shrink(clock.monotonic_s() + REFUSED_FOR_S, but=1)
        if is_connection_reusable(result) and session.is_usable and not spent:
            self._in_use.discard(session)
            self._hand_over(session)
        else:
            session.quit_in_background()
            self._end(session)
        self._open_more()

    def drop(self, session: SmtpSession) -> None:
        """In the middle of a message."""
        session.abort()
        self._end(session)
        self._open_more()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _take_idle(self, waiter: Waiter) -> SmtpSession | None:
        """The idle connection to the best host, the last used one of these."""
        best: SmtpSession | None = None
        for session in reversed(list(self._idle)):
            if not session.is_usable:
                self.close(session)
            elif self._is_suitable(session, waiter):
                order = waiter.hosts[_at(session)]
                if best is None or order < waiter.hosts[_at(best)]:
                    best = session
        if best is not None:
            self._use(best)
        return best

    def _is_suitable(self, session: SmtpSession, waiter: Waiter) -> bool:
        """A backup does not win over a better host for being open already."""
        if not reaches(session, waiter):
            return False
        order, egress_id = waiter.hosts[_at(session)], waiter.assignment.egress_id
        return not any(
            better < order and not self.shared.mx_connector.is_backed_off(egress_id, *at)
            for at, better in waiter.hosts.items()
        )

    def _use(self, session: SmtpSession) -> None:
        self._idle.pop(session, None)
        self._in_use.add(session)
        self.shared.mark_in_use(session)

    def _hand_over(self, session: SmtpSession, opened_for: Waiter | None = None) -> None:
        """To the message that has waited longest, else it is idle."""
        self.shared.untrack(session)
        for waiter in self._waiters:
            suits = waiter is opened_for or self._is_suitable(session, waiter)
            if suits and not waiter.found.done():
                self._forget(waiter)
                self._use(session)
                waiter.found.set_result(session)
                return
        self._idle[session] = None
        self.shared.mark_idle(session, self)

    def _end(self, session: SmtpSession) -> None:
        self._in_use.discard(session)
        self._idle.pop(session, None)
        self.shared.untrack(session)
        self.free_slot(session.peer.mx)
        self._ended()

    def _ended(self) -> None:
        """There is room for one more, here or elsewhere."""
        self.shared.free()
        for pool in list(self.shared.waiting_pools)[:1]:
            if pool is not self:
                asyncio.get_running_loop().call_soon(pool.sweep, clock.monotonic_s())

    def _grow(self) -> None:
        if self.limit < self.connections_max and clock.monotonic_s() >= self._grows_s:
            self.limit += 1

    def _shrink(self, until_s: float, *, but: int = 0) -> None:
        self.limit = max(1, len(self._idle) + len(self._in_use) - but)
        self._grows_s = until_s

    def _refuse(self, waiter: Waiter, error: BaseException) -> None:
        self._forget(waiter)
        if not waiter.found.done():
            waiter.found.set_exception(error)
            waiter.found.exception()  # it counts as heard when the message does not wait any more

    def _forget(self, waiter: Waiter) -> None:
        self._waiters.pop(waiter, None)
        if not self._waiters:
            self.shared.waiting_pools.pop(self, None)

    # ── opening ─────────────────────────────────────────────────────────────────────────────────

    def _open_more(self) -> None:
        now_s = clock.monotonic_s()
        for waiter in list(self._waiters):
            if not waiter.opening and waiter.not_before_s <= now_s and self._reserve(waiter):
                waiter.opening = True
                task = asyncio.create_task(self._open(waiter))
                self._opening.add(task)

    def _reserve(self, waiter: Waiter) -> bool:
        """Whether there is room for another. An idle one that is of no use to this message makes
        some, unless one that is of use will be free."""
        if self._size >= self.limit and not self._serves(waiter):
            for session in list(self._idle)[:1]:
                self.close(session)
        return self._size < self.limit and self.shared.reserve()

    def _serves(self, waiter: Waiter) -> bool:
        return any(reaches(session, waiter) for session in self._in_use)

    async def _open(self, waiter: Waiter) -> None:
        task = asyncio.current_task()
        done = partial(self._opening.discard, task)
        try:
            session = await self.shared.mx_connector.connect(
                waiter.assignment, tried=waiter.tried, slots=self
            )
        except BaseException as error:
            done()
            waiter.opening = False
            self._ended()
            self._on_open_failed(waiter, error)
            if not isinstance(error, Exception):
                raise
        else:
            done()
            waiter.opening = False
            self._hand_over(session, opened_for=waiter)
        self._open_more()

    def _on_open_failed(self, waiter: Waiter, error: BaseException) -> None:
        """While another connection serves, messages wait for that; else for the host, a while."""
        if not isinstance(error, NoConnection):
            self._refuse(waiter, error)
            return
        self._shrink(error.retry_at_s)
        now_s = clock.monotonic_s()
        soon = error.busy and error.retry_at_s - now_s <= self.shared.config.patience_s
        if error.retry_at_s < inf and not waiter.tried and (soon or self._serves(waiter)):
            waiter.not_before_s = error.retry_at_s
            return
        self._refuse(waiter, error)
        result = without_connection(error.result)
        for other in list(self._waiters_for_same_hosts(waiter)):
            self._refuse(other, NoConnection(result, retry_at_s=error.retry_at_s, busy=error.busy))

    def _waiters_for_same_hosts(self, waiter: Waiter) -> Iterator[Waiter]:
        """Those that wait for the same hosts."""
        for other in self._waiters:
            if other is not waiter and other.hosts == waiter.hosts and not other.opening:
                yield other

    def reserve_slot(self, name: str) -> bool:
        return not mx.is_mixed(self.name.site) or self.shared.reserve_guest(
            self.name.egress_id, name
        )

    def free_slot(self, name: str) -> None:
        if mx.is_mixed(self.name.site):
            self.shared.free_guest(self.name.egress_id, name)

    # ── the clock ───────────────────────────────────────────────────────────────────────────────

    def sweep(self, now_s: float) -> None:
        """Put off what has waited too long, and open what may be opened now."""
        for waiter in list(self._waiters):
            if now_s >= waiter.until_s:
                self._refuse(waiter, NoConnection(STALE))
        self._open_more()

    def close(self, session: SmtpSession) -> None:
        """An idle one, with a good-bye where it is still open."""
        session.quit_in_background()
        self._end(session)

    def drain(self) -> None:
        """Nothing is begun any more."""
        for waiter in list(self._waiters):
            self._refuse(waiter, AttemptReleased("stopping"))
        for task in self._opening:
            task.cancel()
        for session in list(self._idle):
            self.close(session)


def _at(session: SmtpSession) -> tuple[str, int]:
    return session.peer.mx, session.port


def reaches(session: SmtpSession, waiter: Waiter) -> bool:
    """Whether it is to one of the hosts of a message, and one that has not had its chance."""
    return (
        _at(session) in waiter.hosts and (session.peer.remote_ip, session.port) not in waiter.tried
    )
