"""The mail exchangers of a message: best first, each at its addresses, never a private one.

What keeps us from an address is a fact of that address and not of the message in hand: it is
remembered, and the address is left alone for a while, twice as long each time.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import inf
from typing import Protocol

from contracts.router.v1.events_pb2 import DeliveryAssigned, MailExchanger
from kernel import clock
from mail.reachable import Network, may_connect
from services.delivery.clients.dns import NOTHING_FOR_S, NoSuchHost, Resolver
from services.delivery.clients.smtp.dial import At, Host, Unreached
from services.delivery.clients.smtp.dialogue import Dialogue
from services.delivery.domain.ending import CONNECT, GREETING, Ending, Peer, refused
from services.delivery.domain.walk import (
    ADDRESSES_MAX,
    dialable,
    out_of_reach,
    port_of,
    sources_of,
)

BACKOFF_S, BACKOFF_MAX_S = 1.0, 300.0
HOSTS_MAX = 10_000  # that are remembered
NO_PLACE_S = 1.0  # until a host may be asked again that has as many connections as it may have


class Dials(Protocol):
    """What opens connections: clients.smtp.dial.Dialler."""

    async def dial(self, host: Host, *, sources: Sequence[str], ehlo: str) -> Dialogue:
        """Raises Unreached."""


class Places(Protocol):
    """How many connections a host may have, by its name. A place that was taken is given back, at
    the latest when its connection ends."""

    def take_place(self, name: str) -> bool: ...

    def give_place(self, name: str) -> None: ...


class NoConnection(Exception):
    """No host could be reached. again_s: when one may be, on the monotonic clock. busy: one of
    them is at work, and has no connection to spare just now."""

    def __init__(self, ending: Ending, *, again_s: float = inf, busy: bool = False) -> None:
        super().__init__(ending.problem)
        self.ending = ending
        self.again_s = again_s
        self.busy = busy


@dataclass(frozen=True, slots=True)
class Backoff:
    """A host that is left alone. ending: what it said last."""

    failures: int
    until_s: float
    ending: Ending


class Exchangers:
    """allowed: private networks that may be dialled all the same. opening_s: for one connection,
    from the first packet to the answer to EHLO."""

    def __init__(
        self,
        resolver: Resolver,
        dialler: Dials,
        *,
        allowed: Sequence[Network] = (),
        opening_s: float = 120.0,
    ) -> None:
        self._resolver = resolver
        self._dialler = dialler
        self._allowed = allowed
        self._opening_s = opening_s
        self._backoffs: dict[tuple[str, Host], Backoff] = {}
        self._passed_over: dict[tuple[str, str, int], float] = {}

    def passes_over(self, egress_id: str, name: str, port: int) -> bool:
        """Whether no address of that host is dialled just now."""
        return self._passed_over.get((egress_id, name, port), 0.0) > clock.monotonic_s()

    async def open(
        self, assignment: DeliveryAssigned, *, asked: AbstractSet[At], places: Places
    ) -> Dialogue:
        """A connection to the first host that lets us begin, other than those in `asked`.
        Raises NoConnection."""
        walk = _Walk()
        for exchanger in by_preference(assignment.exchangers):
            met = _Walk()
            async with _Place(places, exchanger.host) as place:
                if not place.taken:
                    walk.meet_full(exchanger.host)
                    continue
                hosts = await self._hosts(exchanger, assignment, walk=walk)
                for host in hosts:
                    if walk.dialled >= ADDRESSES_MAX or not asked.isdisjoint(host.at):
                        continue
                    dialogue = await self._dial(host, assignment, walks=(walk, met))
                    if dialogue is not None:
                        place.keep()
                        return dialogue
            again_s = met.again_s if hosts else clock.monotonic_s() + NOTHING_FOR_S
            self._pass_over(assignment.egress_id, exchanger, again_s)
        raise walk.end(len(assignment.exchangers))

    async def _hosts(
        self, exchanger: MailExchanger, assignment: DeliveryAssigned, *, walk: "_Walk"
    ) -> list[Host]:
        """One at its addresses, those that may be dialled."""
        try:
            found = await self._resolver.addresses(exchanger.host)
        except NoSuchHost:
            walk.missing.append(exchanger.host)
            return []
        test = assignment.envelope.test
        public = [one for one in found if test or may_connect(one, self._allowed)]
        if private := [str(one) for one in found if one not in public]:
            walk.private = f"private_address: {exchanger.host} is at {', '.join(private[:5])}"
        sources = sources_of(assignment)
        pairs = dialable(public, sources)
        if public and not pairs:
            walk.apart = out_of_reach(exchanger.host, public, sources)
        return [Host(exchanger.host, port_of(exchanger), tuple(map(str, pair))) for pair in pairs]

    async def _dial(
        self, host: Host, assignment: DeliveryAssigned, *, walks: "tuple[_Walk, ...]"
    ) -> Dialogue | None:
        key = (assignment.egress_id, host)
        known = self._backoffs.get(key)
        if known is not None and known.until_s > clock.monotonic_s():
            for walk in walks:
                walk.meet(unconnected(known.ending), known.until_s)
            return None
        try:
            dialogue = await self._open(host, assignment)
        except Unreached as unreached:
            until_s = self._back_off(key, unreached.ending)
            for walk in walks:
                walk.meet(unreached.ending, until_s)
                walk.dialled += len(host.ips)
            return None
        self._backoffs.pop(key, None)
        self._passed_over.pop((assignment.egress_id, host.name, host.port), None)
        return dialogue

    async def _open(self, host: Host, assignment: DeliveryAssigned) -> Dialogue:
        try:
            async with asyncio.timeout(self._opening_s):
                return await self._dialler.dial(
                    host, sources=sources_of(assignment), ehlo=assignment.ehlo
                )
        except TimeoutError:
            problem = f"no connection within {self._opening_s:g} s"
            peer = Peer(mx=host.name, remote_ip=host.ips[0])
            raise Unreached(Ending(GREETING, problem=problem, peer=peer)) from None

    def _back_off(self, key: tuple[str, Host], ending: Ending) -> float:
        before = self._backoffs.pop(key, None)
        failures = before.failures if before is not None else 0
        pause_s: float = min(BACKOFF_S * 2**failures, BACKOFF_MAX_S)
        until_s = clock.monotonic_s() + pause_s * random.uniform(0.75, 1)
        while len(self._backoffs) >= HOSTS_MAX:
            del self._backoffs[next(iter(self._backoffs))]  # the oldest
        self._backoffs[key] = Backoff(min(failures + 1, 16), until_s, ending)
        return until_s

    def _pass_over(self, egress_id: str, exchanger: MailExchanger, until_s: float) -> None:
        if until_s == inf:
            return  # it had its chance before
        while len(self._passed_over) >= HOSTS_MAX:
            del self._passed_over[next(iter(self._passed_over))]
        self._passed_over[egress_id, exchanger.host, port_of(exchanger)] = until_s


class _Place:
    """Given back on the way out, unless it is kept for a connection."""

    def __init__(self, places: Places, name: str) -> None:
        self._places = places
        self._name = name
        self.taken = False

    async def __aenter__(self) -> "_Place":
        self.taken = self._places.take_place(self._name)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.taken:
            self._places.give_place(self._name)

    def keep(self) -> None:
        self.taken = False


@dataclass(slots=True)
class _Walk:
    """What was met on the way. A host that spoke counts more than the silence of another."""

    last: Ending | None = None
    again_s: float = inf
    busy: bool = False
    private: str = ""
    apart: str = ""  # why none was dialled of a host that has addresses
    missing: list[str] = field(default_factory=list)
    dialled: int = 0

    def meet(self, ending: Ending, again_s: float) -> None:
        if ending.reply or self.last is None or not self.last.reply:
            self.last = ending
        self.busy = self.busy or (ending.reply is not None and ending.reply.is_transient)
        self.again_s = min(self.again_s, again_s)

    def meet_full(self, name: str) -> None:
        problem = f"{name} has as many connections as it may have"
        self.meet(Ending(CONNECT, problem=problem), clock.monotonic_s() + NO_PLACE_S)
        self.busy = True

    def end(self, exchangers: int) -> NoConnection:
        if self.last is not None:
            return NoConnection(self.last, again_s=self.again_s, busy=self.busy)
        if self.apart:
            return NoConnection(Ending(CONNECT, problem=self.apart))
        if self.private:
            return NoConnection(refused("private_address", self.private, enhanced="5.4.4"))
        if len(self.missing) == exchangers:
            problem = f"no mail exchanger exists: {', '.join(self.missing)[:200]}"
            return NoConnection(refused("bad_domain", problem, enhanced="5.4.4"))
        problem = "no mail exchanger has an address that can be reached"
        return NoConnection(Ending(CONNECT, problem=problem))


def by_preference(exchangers: Sequence[MailExchanger]) -> Iterator[MailExchanger]:
    """Best first, equals in an order of chance, each time (RFC 5321 §5.1)."""
    ordered = sorted(exchangers, key=lambda one: one.preference)
    for _, equals in groupby(ordered, key=lambda one: one.preference):
        group = list(equals)
        yield from random.sample(group, len(group))


def unconnected(ending: Ending) -> Ending:
    """The same answer, for a message on whose behalf nothing was connected."""
    return replace(ending, peer=replace(ending.peer, local_ip=""))
