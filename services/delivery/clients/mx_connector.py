"""Connects to the MX hosts of a message: best first, each at its addresses, never at a private one.

A connection failure concerns the address, not the message. So it is remembered, and the address is
not dialed again for a while; the backoff doubles with each failure.
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
from kernel.bounded_dict import BoundedDict
from mail.reachable import Network, may_connect
from services.delivery.clients.dns import NEGATIVE_TTL_S, HostResolver, NoSuchHost
from services.delivery.clients.host_slots import ConnectionSlot, HostSlots
from services.delivery.clients.smtp.dial_target import DialTarget, SessionDialer, SocketAddress
from services.delivery.clients.smtp.handshake import ConnectFailed
from services.delivery.clients.smtp.session import SmtpSession
from services.delivery.domain.attempt_result import (
    CONNECT,
    DNS,
    GREETING,
    AttemptResult,
    ReceivingServer,
    local_refusal,
)
from services.delivery.domain.host_policy import (
    ADDRESSES_MAX,
    port_of,
    reachable_pairs,
    sources_of,
    unreachable_problem,
)
from services.delivery.domain.tls_policy import (
    NO_POLICY,
    OPPORTUNISTIC_TLS,
    TlsPolicy,
    TlsRequirement,
)

BACKOFF_S, BACKOFF_MAX_S = 1.0, 300.0
HOSTS_MAX = 10_000  # hosts with a backoff
NO_SLOT_RETRY_S = 1.0  # delay before the next try at a host without a free slot

_BackedOffHost = tuple[str, str, int, TlsRequirement]  # source, name, port, requirement


class SessionObserver(Protocol):
    """Counts sessions for TLS reports."""

    def count_opened(self, policy: TlsPolicy, peer: ReceivingServer) -> None: ...

    def count_failed(self, policy: TlsPolicy, result: AttemptResult) -> None: ...


class NoConnection(Exception):
    """No host could be reached. retry_at_s: the earliest next try, on the monotonic clock. busy: a
    host is working, but accepts no more connections now."""

    def __init__(
        self, result: AttemptResult, *, retry_at_s: float = inf, busy: bool = False
    ) -> None:
        super().__init__(result.problem)
        self.result = result
        self.retry_at_s = retry_at_s
        self.busy = busy


@dataclass(frozen=True, slots=True)
class HostBackoff:
    """The backoff of a host. result: of its last failure."""

    failures: int
    until_s: float
    result: AttemptResult


class MxConnector:
    """allowed: private networks that may be dialed. open_timeout_s: for one connection, from the
    first packet to the reply to EHLO. observer: of sessions under policies."""

    def __init__(
        self,
        resolver: HostResolver,
        dialer: SessionDialer,
        *,
        allowed: Sequence[Network] = (),
        open_timeout_s: float = 120.0,
        observer: SessionObserver | None = None,
    ) -> None:
        self._resolver = resolver
        self._dialer = dialer
        self._allowed = allowed
        self._open_timeout_s = open_timeout_s
        self._observer = observer
        self._backoffs: BoundedDict[tuple[str, DialTarget], HostBackoff] = BoundedDict(HOSTS_MAX)
        self._backed_off_hosts: BoundedDict[_BackedOffHost, float] = BoundedDict(HOSTS_MAX)

    def is_backed_off(
        self,
        egress_id: str,
        name: str,
        port: int,
        *,
        requirement: TlsRequirement = OPPORTUNISTIC_TLS,
    ) -> bool:
        """Whether every address of that host is in backoff, for messages with this requirement."""
        key = (egress_id, name, port, requirement)
        return self._backed_off_hosts.get(key, 0.0) > clock.monotonic_s()

    async def connect(
        self,
        assignment: DeliveryAssigned,
        *,
        tried: AbstractSet[SocketAddress],
        slots: HostSlots,
        policy: TlsPolicy = NO_POLICY,
    ) -> SmtpSession:
        """Connect to the first host that accepts a session, except those in `tried`, and those that
        the policy does not allow.

        Raises NoConnection.
        """
        search = _HostSearch()
        for mx_host in by_preference(assignment.mx_hosts):
            if (refusal := policy.refusal(mx_host.host)) is not None:
                search.record_failure(refusal, inf)
                self._observe_failure(policy, refusal)
                continue
            requirement = policy.requirement(mx_host.host)
            host_search = _HostSearch()
            async with ConnectionSlot(slots, mx_host.host) as slot:
                if not slot.is_reserved:
                    search.record_full(mx_host.host)
                    continue
                hosts = await self._hosts(mx_host, assignment, search=search)
                for host in hosts:
                    if search.dialed >= ADDRESSES_MAX or not tried.isdisjoint(
                        host.socket_addresses
                    ):
                        continue
                    target = replace(host, requirement=requirement)
                    session = await self._dial(
                        target, assignment, searches=(search, host_search), policy=policy
                    )
                    if session is not None:
                        slot.transfer()
                        return session
            retry_at_s = host_search.retry_at_s if hosts else clock.monotonic_s() + NEGATIVE_TTL_S
            if retry_at_s < inf:  # otherwise this message has tried the host before
                key = (assignment.egress_id, mx_host.host, port_of(mx_host), requirement)
                self._backed_off_hosts[key] = retry_at_s
        raise search.to_error(len(assignment.mx_hosts))

    async def has_untried(
        self,
        assignment: DeliveryAssigned,
        tried: AbstractSet[SocketAddress],
        *,
        policy: TlsPolicy = NO_POLICY,
    ) -> bool:
        """Whether the message has a host that is not in `tried`, and that the policy allows."""
        for mx_host in assignment.mx_hosts:
            if policy.refusal(mx_host.host) is not None:
                continue
            hosts = await self._hosts(mx_host, assignment, search=_HostSearch())
            if any(tried.isdisjoint(host.socket_addresses) for host in hosts):
                return True
        return False

    async def _hosts(
        self, mx_host: MxHost, assignment: DeliveryAssigned, *, search: "_HostSearch"
    ) -> list[DialTarget]:
        """The targets of an MX host: its addresses that may be dialed."""
        try:
            found = await self._resolver.addresses(mx_host.host)
        except NoSuchHost:
            search.nonexistent.append(mx_host.host)
            return []
        test = assignment.context.test
        if not found:
            search.unanswered.append(mx_host.host)
        public = [one for one in found if test or may_connect(one, self._allowed)]
        if private := [str(one) for one in found if one not in public]:
            search.private = f"{mx_host.host} has a private address: {', '.join(private[:5])}"
        sources = sources_of(assignment)
        pairs = reachable_pairs(public, sources)
        if public and not pairs:
            search.unreachable = unreachable_problem(mx_host.host, public, sources)
        return [DialTarget(mx_host.host, port_of(mx_host), tuple(map(str, pair))) for pair in pairs]

    async def _dial(
        self,
        host: DialTarget,
        assignment: DeliveryAssigned,
        *,
        searches: "tuple[_HostSearch, ...]",
        policy: TlsPolicy,
    ) -> SmtpSession | None:
        key = (assignment.egress_id, host)
        backoff = self._backoffs.get(key)
        if backoff is not None and backoff.until_s > clock.monotonic_s():
            for search in searches:
                search.record_failure(result_without_connection(backoff.result), backoff.until_s)
            return None
        try:
            session = await self._open(host, assignment)
        except ConnectFailed as failure:
            if failure.result.is_host_failure:  # of which no other host and no message is at fault
                raise NoConnection(failure.result) from failure
            until_s = self._back_off(key, failure.result)
            self._observe_failure(policy, failure.result)
            for search in searches:
                search.record_failure(failure.result, until_s)
                search.dialed += len(host.ips)
            return None
        self._backoffs.pop(key, None)
        key_of_host = (assignment.egress_id, host.name, host.port, host.requirement)
        self._backed_off_hosts.pop(key_of_host, None)
        if self._observer is not None and policy is not NO_POLICY:
            self._observer.count_opened(policy, session.peer)
        return session

    def _observe_failure(self, policy: TlsPolicy, result: AttemptResult) -> None:
        if self._observer is not None and policy is not NO_POLICY:
            self._observer.count_failed(policy, result)

    async def _open(self, host: DialTarget, assignment: DeliveryAssigned) -> SmtpSession:
        try:
            async with asyncio.timeout(self._open_timeout_s):
                return await self._dialer.dial(
                    host,
                    sources=sources_of(assignment),
                    ehlo=assignment.ehlo,
                    egress_host=assignment.egress_host,
                )
        except TimeoutError:
            problem = f"no connection within {self._open_timeout_s:g} s"
            peer = ReceivingServer(mx=host.name, remote_ip=host.ips[0])
            late = AttemptResult(GREETING, problem=problem, peer=peer)
            raise ConnectFailed(await self.confirm(assignment, late)) from None

    async def confirm(self, assignment: DeliveryAssigned, result: AttemptResult) -> AttemptResult:
        """The result of a connection; that of its egress host, if that broke it."""
        if not assignment.egress_host:
            return result
        return await self._dialer.confirm(
            result, sources=sources_of(assignment), egress_host=assignment.egress_host
        )

    def _back_off(self, key: tuple[str, DialTarget], result: AttemptResult) -> float:
        before = self._backoffs.get(key)
        failures = before.failures if before is not None else 0
        pause_s: float = min(BACKOFF_S * 2**failures, BACKOFF_MAX_S)
        until_s = clock.monotonic_s() + pause_s * random.uniform(0.75, 1)
        self._backoffs[key] = HostBackoff(min(failures + 1, 16), until_s, result)
        return until_s


@dataclass(slots=True)
class _HostSearch:
    """The failures of a search. A result with a reply takes precedence over one without.

    private, unreachable: the reason why no address of a host was dialed. unanswered: hosts for
    which DNS has not answered; nonexistent: for which it has answered that they do not exist.
    """

    last: AttemptResult | None = None
    retry_at_s: float = inf
    busy: bool = False
    private: str = ""
    unreachable: str = ""
    nonexistent: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    dialed: int = 0

    def record_failure(self, result: AttemptResult, retry_at_s: float) -> None:
        if result.reply or self.last is None or not self.last.reply:
            self.last = result
        self.busy = self.busy or (result.reply is not None and result.reply.is_transient)
        self.retry_at_s = min(self.retry_at_s, retry_at_s)

    def record_full(self, name: str) -> None:
        problem = f"{name} has reached its limit of connections"
        self.record_failure(
            AttemptResult(CONNECT, problem=problem), clock.monotonic_s() + NO_SLOT_RETRY_S
        )
        self.busy = True

    def to_error(self, mx_hosts: int) -> NoConnection:
        if self.last is not None:
            return NoConnection(self.last, retry_at_s=self.retry_at_s, busy=self.busy)
        if self.unreachable:
            return NoConnection(AttemptResult(CONNECT, problem=self.unreachable))
        if self.unanswered:
            problem = f"DNS does not answer for {', '.join(self.unanswered)}"[:200]
            retry_at_s = clock.monotonic_s() + NEGATIVE_TTL_S
            return NoConnection(AttemptResult(DNS, problem=problem), retry_at_s=retry_at_s)
        if self.private:
            return NoConnection(local_refusal("private_address", self.private, enhanced="5.4.4"))
        if len(self.nonexistent) == mx_hosts:
            problem = f"no MX host exists: {', '.join(self.nonexistent)[:200]}"
            return NoConnection(local_refusal("bad_domain", problem, enhanced="5.4.4"))
        problem = "no MX host has an address that can be reached"
        return NoConnection(AttemptResult(CONNECT, problem=problem))


def by_preference(mx_hosts: Sequence[MxHost]) -> Iterator[MxHost]:
    """Best first; hosts of equal preference in random order (RFC 5321 §5.1)."""
    ordered = sorted(mx_hosts, key=lambda one: one.preference)
    for _, equals in groupby(ordered, key=lambda one: one.preference):
        group = list(equals)
        yield from random.sample(group, len(group))


def result_without_connection(result: AttemptResult) -> AttemptResult:
    """The same result, for a message for which no connection was made."""
    return replace(result, peer=replace(result.peer, local_ip=""))
