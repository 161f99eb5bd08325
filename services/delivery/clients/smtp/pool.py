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
from services.delivery.clients.exchangers import NoConnection, unconnected
from services.delivery.clients.smtp.connections import Connections
from services.delivery.clients.smtp.dial import At
from services.delivery.clients.smtp.dialogue import Dialogue
from services.delivery.domain.ending import SERVICE_CLOSING, STALE, Ending
from services.delivery.domain.walk import keeps_open, port_of

TEST_SHARE = 4  # a tenant gets this part of the sandbox's connections
FIRST = 2  # connections that a pool may have before anybody has answered
REFUSED_FOR_S = 1.0  # how long no connection is added after a 421 to a command


class LetGo(Exception):
    """The message is not ours to send, or not now: nothing was delivered, nothing is told."""


class Name(NamedTuple):
    """Of a pool. tenant_id: of test mail, so that nobody's fills the sandbox; else empty."""

    egress_id: str
    site: str
    tenant_id: str = ""


@dataclass(eq=False, slots=True)
class Waiter:
    """A message without a connection. asked: addresses that had their chance. until_s: later it
    is too late. after_s: before that no connection is opened for it."""

    assignment: DeliveryAssigned
    asked: AbstractSet[At]
    until_s: float
    hosts: dict[tuple[str, int], int]  # with their preferences
    found: "asyncio.Future[Dialogue]"
    opening: bool = False
    after_s: float = 0.0


@dataclass(eq=False)
class Pool:
    """Of one egress to one site; in the sandbox, of one tenant. messages_max: of a connection, then
    it is closed. limit: how many connections there may be just now."""

    name: Name
    all: Connections
    connections_max: int = 0
    messages_max: int = 0
    limit: int = 0
    _idle: dict[Dialogue, None] = field(default_factory=dict)
    _in_use: set[Dialogue] = field(default_factory=set)
    _waiters: dict[Waiter, None] = field(default_factory=dict)
    _opening: "set[asyncio.Task[None]]" = field(default_factory=set)
    _grows_s: float = 0.0

    @property
    def empty(self) -> bool:
        return not (self._idle or self._in_use or self._waiters or self._opening)

    @property
    def _size(self) -> int:
        return len(self._idle) + len(self._in_use) + len(self._opening)

    def shape(self, assignment: DeliveryAssigned) -> None:
        """As the rules for its site say now; what they leave open is as the process is set up."""
        limits = self.all.limits
        most = assignment.connections_max or limits.connections_max
        self.connections_max = max(1, most // TEST_SHARE) if self.name.tenant_id else most
        self.messages_max = (
            assignment.messages_per_connection_max or limits.messages_per_connection_max
        )
        self.limit = min(self.limit or FIRST, self.connections_max)

    # ── for a message ───────────────────────────────────────────────────────────────────────────

    async def acquire(
        self, assignment: DeliveryAssigned, *, asked: AbstractSet[At], until_s: float
    ) -> Dialogue:
        """An idle connection at once, else the next one that is free or opened.

        Raises NoConnection, and LetGo when the process ends.
        """
        hosts = {(one.host, port_of(one)): one.preference for one in assignment.exchangers}
        found: asyncio.Future[Dialogue] = asyncio.get_running_loop().create_future()
        waiter = Waiter(assignment, asked, until_s, hosts, found)
        if (dialogue := self._take(waiter)) is not None:
            return dialogue
        self._waiters[waiter] = self.all.waiting[self] = None
        self._open_more()
        try:
            return await found
        except asyncio.CancelledError:
            if found.done() and not found.cancelled() and found.exception() is None:
                self.drop(found.result())
            raise
        finally:
            self._forget(waiter)

    def release(self, dialogue: Dialogue, ending: Ending) -> None:
        """After a message: for the next one, as long as the server leaves it usable."""
        spent = dialogue.used >= self.messages_max
        if keeps_open(ending):
            self._grow()
        elif ending.reply is not None and ending.reply.code == SERVICE_CLOSING:
            self._shrink(clock.monotonic_s() + REFUSED_FOR_S, but=1)
        if keeps_open(ending) and dialogue.usable and not spent:
            self._in_use.discard(dialogue)
            self._place(dialogue)
        else:
            dialogue.leave()
            self._end(dialogue)
        self._open_more()

    def drop(self, dialogue: Dialogue) -> None:
        """In the middle of a message."""
        dialogue.abort()
        self._end(dialogue)
        self._open_more()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _take(self, waiter: Waiter) -> Dialogue | None:
        """The idle connection to the best host, the last used one of these."""
        best: Dialogue | None = None
        for dialogue in reversed(list(self._idle)):
            if not dialogue.usable:
                self.close(dialogue)
            elif self._suits(dialogue, waiter):
                order = waiter.hosts[_at(dialogue)]
                if best is None or order < waiter.hosts[_at(best)]:
                    best = dialogue
        if best is not None:
            self._use(best)
        return best

    def _suits(self, dialogue: Dialogue, waiter: Waiter) -> bool:
        """A backup does not win over a better host for being open already."""
        if not reaches(dialogue, waiter):
            return False
        order, egress_id = waiter.hosts[_at(dialogue)], waiter.assignment.egress_id
        return not any(
            better < order and not self.all.exchangers.passes_over(egress_id, *at)
            for at, better in waiter.hosts.items()
        )

    def _use(self, dialogue: Dialogue) -> None:
        self._idle.pop(dialogue, None)
        self._in_use.add(dialogue)
        self.all.use(dialogue)

    def _place(self, dialogue: Dialogue, opened_for: Waiter | None = None) -> None:
        """To the message that has waited longest, else it is idle."""
        self.all.forget(dialogue)
        for waiter in self._waiters:
            suits = waiter is opened_for or self._suits(dialogue, waiter)
            if suits and not waiter.found.done():
                self._forget(waiter)
                self._use(dialogue)
                waiter.found.set_result(dialogue)
                return
        self._idle[dialogue] = None
        self.all.rest(dialogue, self)

    def _end(self, dialogue: Dialogue) -> None:
        self._in_use.discard(dialogue)
        self._idle.pop(dialogue, None)
        self.all.forget(dialogue)
        self.give_place(dialogue.peer.mx)
        self._ended()

    def _ended(self) -> None:
        """There is room for one more, here or elsewhere."""
        self.all.end()
        for pool in list(self.all.waiting)[:1]:
            if pool is not self:
                asyncio.get_running_loop().call_soon(pool.look, clock.monotonic_s())

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
            self.all.waiting.pop(self, None)

    # ── opening ─────────────────────────────────────────────────────────────────────────────────

    def _open_more(self) -> None:
        now_s = clock.monotonic_s()
        for waiter in list(self._waiters):
            if not waiter.opening and waiter.after_s <= now_s and self._begin(waiter):
                waiter.opening = True
                task = asyncio.create_task(self._open(waiter))
                self._opening.add(task)

    def _begin(self, waiter: Waiter) -> bool:
        """Whether there is room for another. An idle one that is of no use to this message makes
        some, unless one that is of use will be free."""
        if self._size >= self.limit and not self._serves(waiter):
            for dialogue in list(self._idle)[:1]:
                self.close(dialogue)
        return self._size < self.limit and self.all.begin()

    def _serves(self, waiter: Waiter) -> bool:
        return any(reaches(dialogue, waiter) for dialogue in self._in_use)

    async def _open(self, waiter: Waiter) -> None:
        task = asyncio.current_task()
        done = partial(self._opening.discard, task)
        try:
            dialogue = await self.all.exchangers.open(
                waiter.assignment, asked=waiter.asked, places=self
            )
        except BaseException as error:
            done()
            waiter.opening = False
            self._ended()
            self._missed(waiter, error)
            if not isinstance(error, Exception):
                raise
        else:
            done()
            waiter.opening = False
            self._place(dialogue, opened_for=waiter)
        self._open_more()

    def _missed(self, waiter: Waiter, error: BaseException) -> None:
        """While another connection serves, messages wait for that; else for the host, a while."""
        if not isinstance(error, NoConnection):
            self._refuse(waiter, error)
            return
        self._shrink(error.again_s)
        now_s = clock.monotonic_s()
        soon = error.busy and error.again_s - now_s <= self.all.limits.patience_s
        if error.again_s < inf and not waiter.asked and (soon or self._serves(waiter)):
            waiter.after_s = error.again_s
            return
        self._refuse(waiter, error)
        ending = unconnected(error.ending)
        for other in list(self._alike(waiter)):
            self._refuse(other, NoConnection(ending, again_s=error.again_s, busy=error.busy))

    def _alike(self, waiter: Waiter) -> Iterator[Waiter]:
        """Those that wait for the same hosts."""
        for other in self._waiters:
            if other is not waiter and other.hosts == waiter.hosts and not other.opening:
                yield other

    def take_place(self, name: str) -> bool:
        return not mx.is_mixed(self.name.site) or self.all.take_guest(self.name.egress_id, name)

    def give_place(self, name: str) -> None:
        if mx.is_mixed(self.name.site):
            self.all.give_guest(self.name.egress_id, name)

    # ── the clock ───────────────────────────────────────────────────────────────────────────────

    def look(self, now_s: float) -> None:
        """Put off what has waited too long, and open what may be opened now."""
        for waiter in list(self._waiters):
            if now_s >= waiter.until_s:
                self._refuse(waiter, NoConnection(STALE))
        self._open_more()

    def close(self, dialogue: Dialogue) -> None:
        """An idle one, with a good-bye where it is still open."""
        dialogue.leave()
        self._end(dialogue)

    def drain(self) -> None:
        """Nothing is begun any more."""
        for waiter in list(self._waiters):
            self._refuse(waiter, LetGo("stopping"))
        for task in self._opening:
            task.cancel()
        for dialogue in list(self._idle):
            self.close(dialogue)


def _at(dialogue: Dialogue) -> tuple[str, int]:
    return dialogue.peer.mx, dialogue.port


def reaches(dialogue: Dialogue, waiter: Waiter) -> bool:
    """Whether it is to one of the hosts of a message, and one that has not had its chance."""
    return (
        _at(dialogue) in waiter.hosts
        and (dialogue.peer.remote_ip, dialogue.port) not in waiter.asked
    )
