"""A world of mail exchangers in memory, for the pools of connections to them."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, cast

from contracts.router.v1.events_pb2 import DeliveryAssigned, MailExchanger
from mail.reachable import Address
from mail.reply import Reply
from services.delivery.clients.dns import NoSuchHost
from services.delivery.clients.smtp.connections import Connections
from services.delivery.clients.smtp.dial import At, Host, Unreached
from services.delivery.clients.smtp.dialogue import Dialogue
from services.delivery.clients.smtp.pool import Name, Pool
from services.delivery.domain.ending import CONNECT, GREETING, Ending, Peer

FOREVER_S = 1e12


@dataclass(eq=False)
class FakeDialogue:
    """A connection as far as a pool looks at it."""

    peer: Peer
    port: int = 25
    used: int = 0
    usable: bool = True
    ended: str = ""

    def leave(self) -> None:
        self.ended = self.ended or "quit"

    def abort(self, why: str = "aborted") -> None:
        self.usable = False
        self.ended = self.ended or why


@dataclass
class FakeNet:
    """Hosts at 192.0.2.n, by their names "n.example"; `refuses` says what they say instead."""

    refuses: dict[str, Reply | None] = field(default_factory=dict)
    dialled: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    missing: frozenset[str] = frozenset()

    async def addresses(self, host: str) -> list[Address]:
        if host in self.missing:
            raise NoSuchHost(host)
        return [ip_address(f"198.51.{host.split('.', maxsplit=1)[0]}.1")]

    async def dial(self, host: Host, *, sources: Sequence[str], ehlo: str) -> Dialogue:
        self.dialled.append(host.name)
        if self.gate is not None:
            await self.gate.wait()
        if host.name in self.refuses:
            said = self.refuses[host.name]
            peer = Peer(mx=host.name, remote_ip=host.ips[0], local_ip="192.0.2.9" if said else "")
            problem = "" if said else "no connection: refused"
            raise Unreached(Ending(GREETING if said else CONNECT, said, problem, peer))
        return cast(Dialogue, FakeDialogue(Peer(mx=host.name, remote_ip=host.ips[0])))


@dataclass
class Records:
    """A name server that knows one host."""

    ips: list[str]

    async def addresses(self, host: str) -> list[Address]:
        return [ip_address(ip) for ip in self.ips]


class Anywhere:
    """As many connections as anybody wants."""

    def take_place(self, name: str) -> bool:
        return True

    def give_place(self, name: str) -> None: ...


@dataclass
class World:
    net: FakeNet
    connections: Connections
    now_s: list[float]

    def pool(self, site: str = "site", egress: str = "e1", most: int = 0) -> Pool:
        pool = Pool(Name(egress, site), self.connections)
        pool.shape(DeliveryAssigned(connections_max=most))
        return pool

    def later(self, seconds: float) -> None:
        self.now_s[0] += seconds
        self.connections.sweep()


def to(*hosts: str) -> DeliveryAssigned:
    """The best first."""
    return DeliveryAssigned(
        exchangers=[MailExchanger(host=host, preference=n) for n, host in enumerate(hosts)]
    )


def ask(
    pool: Pool, *hosts: str, asked: frozenset[At] = frozenset(), until_s: float = FOREVER_S
) -> Coroutine[Any, Any, Dialogue]:
    return pool.acquire(to(*(hosts or ("1.example",))), asked=asked, until_s=until_s)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def waiters(pool: Pool, number: int, *hosts: str) -> "list[asyncio.Task[Dialogue]]":
    tasks = [asyncio.create_task(ask(pool, *hosts)) for _ in range(number)]
    await settle()
    return tasks


def got(tasks: "list[asyncio.Task[Dialogue]]") -> list[Dialogue]:
    return [task.result() for task in tasks if task.done() and task.exception() is None]
