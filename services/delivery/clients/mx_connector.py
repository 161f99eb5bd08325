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

from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from kernel import clock
from mail.reachable import Network, may_connect
from services.delivery.clients.dns import NEGATIVE_TTL_S, NoSuchHost, Resolver
from services.delivery.clients.smtp.dial import ConnectFailed, DialTarget, SocketAddress
from services.delivery.clients.smtp.session import SmtpSession
from services.delivery.domain.attempt_result import (
    CONNECT,
    GREETING,
    AttemptResult,
    RemoteServer,
    local_refusal,
)
from services.delivery.domain.host_policy import (
    ADDRESSES_MAX,
    port_of,
    reachable_pairs,
    sources_of,
    unreachable_problem,
)

BACKOFF_S, BACKOFF_MAX_S = 1.0, 300.0
HOSTS_MAX = 10_000  # that are remembered
NO_SLOT_RETRY_S = 1.0  # until a host may be tried again that has as many connections as it may have


class Dialer(Protocol):
    """What opens connections: clients.smtp.dial.SmtpDialer."""

    async def dial(self, host: DialTarget, *, sources: Sequence[str], ehlo: str) -> SmtpSession:
        """Raises ConnectFailed."""


class HostSlots(Protocol):
    """How many connections a host may have, by its name. A slot that was taken is given back, at
    the latest when its connection ends."""

    def reserve_slot(self, name: str) -> bool: ...

    def free_slot(self, name: str) -> None: ...


class NoConnection(Exception):
    """No host could be reached. retry_at_s: when one may be, on the monotonic clock. busy: one of
    them is at work, and has no connection to spare just now."""

    def __init__(
        self, result: AttemptResult, *, retry_at_s: float = inf, busy: bool = False
    ) -> None:
        super().__init__(result.problem)
        self.result = result
        self.retry_at_s = retry_at_s
        self.busy = busy


@dataclass(frozen=True, slots=True)
class HostBackoff:
    """A host that is left alone. result: what it said last."""

    failures: int
    until_s: float
    result: AttemptResult


class MxConnector:
    """allowed: private networks that may be dialed all the same. opening_s: for one connection,
    from the first packet to the answer to EHLO."""

    def __init__(
        self,
        resolver: Resolver,
        dialer: Dialer,
        *,
        allowed: Sequence[Network] = (),
        opening_s: float = 120.0,
    ) -> None:
        self._resolver = resolver
        self._dialer = dialer
        self._allowed = allowed
        self._opening_s = opening_s
        self._backoffs: dict[tuple[str, DialTarget], HostBackoff] = {}
        self._backed_off_hosts: dict[tuple[str, str, int], float] = {}

    def is_backed_off(self, egress_id: str, name: str, port: int) -> bool:
        """Whether no address of that host is dialed just now."""
        return self._backed_off_hosts.get((egress_id, name, port), 0.0) > clock.monotonic_s()

    async def connect(
        self, assignment: DeliveryAssigned, *, tried: AbstractSet[SocketAddress], slots: HostSlots
    ) -> SmtpSession:
        """A connection to the first host that lets us begin, other than those in `tried`.
        Raises NoConnection."""
        search = _HostSearch()
        for exchanger in by_preference(assignment.mx_hosts):
            host_search = _HostSearch()
            async with _Slot(slots, exchanger.host) as slot:
                if not slot.taken:
                    search.record_full(exchanger.host)
                    continue
                hosts = await self._hosts(exchanger, assignment, search=search)
                for host in hosts:
                    if search.dialed >= ADDRESSES_MAX or not tried.isdisjoint(
                        host.socket_addresses
                    ):
                        continue
                    session = await self._dial(host, assignment, searches=(search, host_search))
                    if session is not None:
                        slot.keep()
                        return session
            retry_at_s = host_search.retry_at_s if hosts else clock.monotonic_s() + NEGATIVE_TTL_S
            self._back_off_host(assignment.egress_id, exchanger, retry_at_s)
        raise search.to_error(len(assignment.mx_hosts))

    async def _hosts(
        self, exchanger: MxHost, assignment: DeliveryAssigned, *, search: "_HostSearch"
    ) -> list[DialTarget]:
        """One at its addresses, those that may be dialed."""
        try:
            found = await self._resolver.addresses(exchanger.host)
        except NoSuchHost:
            search.missing.append(exchanger.host)
            return []
        test = assignment.context.test
        public = [one for one in found if test or may_connect(one, self._allowed)]
        if private := [str(one) for one in found if one not in public]:
            search.private = f"private_address: {exchanger.host} is at {', '.join(private[:5])}"
        sources = sources_of(assignment)
        pairs = reachable_pairs(public, sources)
        if public and not pairs:
            search.apart = unreachable_problem(exchanger.host, public, sources)
        return [
            DialTarget(exchanger.host, port_of(exchanger), tuple(map(str, pair))) for pair in pairs
        ]

    async def _dial(
        self, host: DialTarget, assignment: DeliveryAssigned, *, searches: "tuple[_HostSearch, ...]"
    ) -> SmtpSession | None:
        key = (assignment.egress_id, host)
        known = self._backoffs.get(key)
        if known is not None and known.until_s > clock.monotonic_s():
            for search in searches:
                search.record_failure(without_connection(known.result), known.until_s)
            return None
        try:
            session = await self._open(host, assignment)
        except ConnectFailed as failure:
            until_s = self._back_off(key, failure.result)
            for search in searches:
                search.record_failure(failure.result, until_s)
                search.dialed += len(host.ips)
            return None
        self._backoffs.pop(key, None)
        self._backed_off_hosts.pop((assignment.egress_id, host.name, host.port), None)
        return session

    async def _open(self, host: DialTarget, assignment: DeliveryAssigned) -> SmtpSession:
        try:
            async with asyncio.timeout(self._opening_s):
                return await self._dialer.dial(
                    host, sources=sources_of(assignment), ehlo=assignment.ehlo
                )
        except TimeoutError:
            problem = f"no connection within {self._opening_s:g} s"
            peer = RemoteServer(mx=host.name, remote_ip=host.ips[0])
            raise ConnectFailed(AttemptResult(GREETING, problem=problem, peer=peer)) from None

    def _back_off(self, key: tuple[str, DialTarget], result: AttemptResult) -> float:
        before = self._backoffs.pop(key, None)
        failures = before.failures if before is not None else 0
        pause_s: float = min(BACKOFF_S * 2**failures, BACKOFF_MAX_S)
        until_s = clock.monotonic_s() + pause_s * random.uniform(0.75, 1)
        while len(self._backoffs) >= HOSTS_MAX:
            del self._backoffs[next(iter(self._backoffs))]  # the oldest
        self._backoffs[key] = HostBackoff(min(failures + 1, 16), until_s, result)
        return until_s

    def _back_off_host(self, egress_id: str, exchanger: MxHost, until_s: float) -> None:
        if until_s == inf:
            return  # it had its chance before
        while len(self._backed_off_hosts) >= HOSTS_MAX:
            del self._backed_off_hosts[next(iter(self._backed_off_hosts))]
        self._backed_off_hosts[egress_id, exchanger.host, port_of(exchanger)] = until_s


class _Slot:
    """Given back on the way out, unless it is kept for a connection."""

    def __init__(self, slots: HostSlots, name: str) -> None:
        self._places = slots
        self._name = name
        self.taken = False

    async def __aenter__(self) -> "_Slot":
        self.taken = self._places.reserve_slot(self._name)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.taken:
            self._places.free_slot(self._name)

    def keep(self) -> None:
        self.taken = False


@dataclass(slots=True)
class _HostSearch:
    """What the search met. A host that spoke counts more than the silence of another."""

    last: AttemptResult | None = None
    retry_at_s: float = inf
    busy: bool = False
    private: str = ""
    apart: str = ""  # why none was dialed of a host that has addresses
    missing: list[str] = field(default_factory=list)
    dialed: int = 0

    def record_failure(self, result: AttemptResult, retry_at_s: float) -> None:
        if result.reply or self.last is None or not self.last.reply:
            self.last = result
        self.busy = self.busy or (result.reply is not None and result.reply.is_transient)
        self.retry_at_s = min(self.retry_at_s, retry_at_s)

    def record_full(self, name: str) -> None:
        problem = f"{name} has as many connections as it may have"
        self.record_failure(
            AttemptResult(CONNECT, problem=problem), clock.monotonic_s() + NO_SLOT_RETRY_S
        )
        self.busy = True

    def to_error(self, exchangers: int) -> NoConnection:
        if self.last is not None:
            return NoConnection(self.last, retry_at_s=self.retry_at_s, busy=self.busy)
        if self.apart:
            return NoConnection(AttemptResult(CONNECT, problem=self.apart))
        if self.private:
            return NoConnection(local_refusal("private_address", self.private, enhanced="5.4.4"))
        if len(self.missing) == exchangers:
            problem = f"no mail exchanger exists: {', '.join(self.missing)[:200]}"
            return NoConnection(local_refusal("bad_domain", problem, enhanced="5.4.4"))
        problem = "no mail exchanger has an address that can be reached"
        return NoConnection(AttemptResult(CONNECT, problem=problem))


def by_preference(exchangers: Sequence[MxHost]) -> Iterator[MxHost]:
    """Best first, equals in an order of chance, each time (RFC 5321 §5.1)."""
    ordered = sorted(exchangers, key=lambda one: one.preference)
    for _, equals in groupby(ordered, key=lambda one: one.preference):
        group = list(equals)
        yield from random.sample(group, len(group))


def without_connection(result: AttemptResult) -> AttemptResult:
    """The same answer, for a message on whose behalf nothing was connected."""
    return replace(result, peer=replace(result.peer, local_ip=""))
