"""Receiving servers in memory, for tests of connection pools."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any, cast

from contracts.ingest.v1.events_pb2 import PRIORITY_EXPRESS, Priority
from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from mail.reachable import Address
from mail.smtp_reply import Reply
from services.delivery.clients.dns import NoSuchHost
from services.delivery.clients.smtp.connections import ConnectionRegistry
from services.delivery.clients.smtp.dial_target import DialTarget, SocketAddress
from services.delivery.clients.smtp.handshake import ConnectFailed
from services.delivery.clients.smtp.pool import ConnectionPool, ReadyQueueKey
from services.delivery.clients.smtp.session import SmtpSession
from services.delivery.domain.attempt_result import (
    CONNECT,
    GREETING,
    AttemptResult,
    ReceivingServer,
)
from services.delivery.domain.tls_policy import NO_POLICY, TlsPolicy, starttls_missing

FOREVER_S = 1e12


@dataclass(eq=False)
class FakeSession:
    """The part of a session that a pool uses."""

    peer: ReceivingServer
    port: int = 25
    used: int = 0
    is_usable: bool = True
    ended: str = ""

    def quit_in_background(self) -> None:
        self.ended = self.ended or "quit"

    def abort(self, why: str = "aborted") -> None:
        self.is_usable = False
        self.ended = self.ended or why


@dataclass
class FakeNetwork:
    """Hosts named "n.example" at 198.51.n.1. refuses: hosts that refuse connections, with the
    reply; None for a host that does not listen. missing, unanswered: hosts that DNS says do not
    exist, and for which it does not answer. verified: hosts with TLS and a valid certificate.
    """

    refuses: dict[str, Reply | None] = field(default_factory=dict)
    dialed: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    missing: frozenset[str] = frozenset()
    unanswered: frozenset[str] = frozenset()
    verified: set[str] = field(default_factory=set)

    async def addresses(self, host: str) -> list[Address]:
        if host in self.missing:
            raise NoSuchHost(host)
        if host in self.unanswered:
            return []
        return [ip_address(f"198.51.{host.split('.', maxsplit=1)[0]}.1")]

    async def confirm(self, result: AttemptResult, **_: object) -> AttemptResult:
        return result

    async def dial(
        self, host: DialTarget, *, sources: Sequence[str], ehlo: str, egress_host: str = ""
    ) -> SmtpSession:
        self.dialed.append(host.name)
        if self.gate is not None:
            await self.gate.wait()
        if host.name in self.refuses:
            reply = self.refuses[host.name]
            peer = ReceivingServer(
                mx=host.name, remote_ip=host.ips[0], local_ip="192.0.2.9" if reply else ""
            )
            problem = "" if reply else "no connection: refused"
            raise ConnectFailed(AttemptResult(GREETING if reply else CONNECT, reply, problem, peer))
        peer = ReceivingServer(mx=host.name, remote_ip=host.ips[0])
        if host.name in self.verified:
            peer = replace(peer, tls="TLSv1.3", verified=True)
        if not host.requirement.is_met(peer):
            peer = replace(peer, local_ip="192.0.2.9", policy=host.requirement.policy)
            raise ConnectFailed(starttls_missing(peer))
        return cast(SmtpSession, FakeSession(peer))


@dataclass
class Records:
    """A resolver with the addresses of one host."""

    ips: list[str]

    async def addresses(self, host: str) -> list[Address]:
        return [ip_address(ip) for ip in self.ips]


class UnlimitedSlots:
    """Allows any number of connections."""

    def reserve_slot(self, name: str) -> bool:
        return True

    def free_slot(self, name: str) -> None: ...


@dataclass
class PoolEnvironment:
    network: FakeNetwork
    connections: ConnectionRegistry
    now_s: list[float]

    def pool(
        self, site: str = "site", egress: str = "e1", connections_max: int = 0
    ) -> ConnectionPool:
        pool = ConnectionPool(ReadyQueueKey(egress, site), self.connections)
        pool.apply_limits(DeliveryAssigned(connections_max=connections_max))
        return pool

    def advance(self, seconds: float) -> None:
        self.now_s[0] += seconds
        self.connections.maintain()


def assignment_to(*hosts: str) -> DeliveryAssigned:
    """An assignment to these hosts, best first."""
    return DeliveryAssigned(
        mx_hosts=[MxHost(host=host, preference=n) for n, host in enumerate(hosts)]
    )


def acquire(
    pool: ConnectionPool,
    *hosts: str,
    tried: frozenset[SocketAddress] = frozenset(),
    until_s: float = FOREVER_S,
    policy: TlsPolicy = NO_POLICY,
    priority: "Priority.ValueType" = PRIORITY_EXPRESS,
) -> Coroutine[Any, Any, SmtpSession]:
    assignment = assignment_to(*(hosts or ("1.example",)))
    assignment.priority = priority
    return pool.acquire(assignment, tried=tried, until_s=until_s, policy=policy)


async def run_ready_tasks() -> None:
    """Run tasks until none is ready."""
    for _ in range(20):
        await asyncio.sleep(0)


async def start_waiters(
    pool: ConnectionPool, number: int, *hosts: str, policy: TlsPolicy = NO_POLICY
) -> "list[asyncio.Task[SmtpSession]]":
    tasks = [asyncio.create_task(acquire(pool, *hosts, policy=policy)) for _ in range(number)]
    await run_ready_tasks()
    return tasks


def sessions_of(tasks: "list[asyncio.Task[SmtpSession]]") -> list[SmtpSession]:
    return [task.result() for task in tasks if task.done() and task.exception() is None]
