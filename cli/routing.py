"""Pools and egresses, as records: what the commands write, for router and its topics."""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from uuid import UUID

from google.protobuf.message import Message

from cli.environment import known
from contracts.router.v1.directory_pb2 import Egress, Pool
from kernel import clock
from kernel.database import Database, Transaction
from kernel.errors import BadSetting
from kernel.ids import uuid7_text
from kernel.outbox import Outbox, Send
from kernel.topics import encode
from mail.address import AddressError, to_ascii
from services.router.settings import Settings
from services.router.store import directory

CELL = "default"


async def leave_to_router(_: Sequence[Message]) -> None:
    """A running router sweeps what was added here; one that starts tells everything."""


@dataclass(frozen=True, slots=True)
class Routing:
    database: Database
    outbox: Outbox

    async def add_pool(self, name: str) -> Pool:
        if not name.strip():
            raise BadSetting("a pool has a name")
        pool = Pool(pool_id=uuid7_text(), version=1, name=name, cell=CELL)
        async with self.database.transaction() as tx:
            if not await directory.add_pool(tx, pool):
                raise BadSetting(f"there is a pool {name} already")
            await self._tell(tx, pool)
        return pool

    async def remove_pool(self, pool: str) -> None:
        """pool: id or name. Raises BadSetting."""
        async with self.database.transaction() as tx:
            found = find(await directory.all_pools(tx), pool)
            removed = await directory.remove_pool(tx, found.pool_id)
            if removed is None:
                raise BadSetting(f"pool {pool} has egresses: see `obm egress list`")
            await self._tell(tx, removed)

    async def add_egress(self, *, pool: str, addresses: Sequence[str], ehlo: str) -> Egress:
        """pool: id or name. addresses: one of each family at most; none: the machine chooses."""
        ipv4, ipv6 = pair(addresses)
        added = Egress(
            egress_id=uuid7_text(), version=1, source_ip=ipv4, source_ipv6=ipv6, ehlo=host(ehlo)
        )
        async with self.database.transaction() as tx:
            added.pool_id = find(await directory.all_pools(tx), pool).pool_id
            if not await directory.add_egress(tx, added):
                raise BadSetting(f"there is an egress with {said(ipv4, ipv6)} already")
            await self._tell(tx, added)
        return added

    async def move_egress(self, egress_id: str, addresses: Sequence[str]) -> Egress:
        """To other addresses, at least one. Raises BadSetting."""
        ipv4, ipv6 = pair(addresses)
        async with self.database.transaction() as tx:
            if not any(one.egress_id == egress_id for one in await self._egresses(tx)):
                raise BadSetting(f"there is no egress {egress_id}: see `obm egress list`")
            moved = await directory.move_egress(tx, egress_id, source_ip=ipv4, source_ipv6=ipv6)
            if moved is None:
                raise BadSetting(f"there is an egress with {said(ipv4, ipv6)} already")
            await self._tell(tx, moved)
        return moved

    async def change_egress(
        self, egress_id: str, *, paused: bool | None = None, deleted: bool | None = None
    ) -> Egress:
        async with self.database.transaction() as tx:
            changed = None
            if is_id(egress_id):
                changed = await directory.change_egress(
                    tx, egress_id, paused=paused, deleted=deleted
                )
            if changed is None:
                raise BadSetting(f"there is no egress {egress_id}: see `obm egress list`")
            await self._tell(tx, changed)
        return changed

    async def pools(self) -> list[Pool]:
        async with self.database.transaction() as tx:
            return [pool for pool in await directory.all_pools(tx) if not pool.deleted]

    async def egresses(self) -> list[Egress]:
        async with self.database.transaction() as tx:
            return await self._egresses(tx)

    async def _egresses(self, tx: Transaction) -> list[Egress]:
        return [one for one in await directory.all_egresses(tx) if not one.deleted]

    async def _tell(self, tx: Transaction, record: Message) -> None:
        await self.outbox.add(tx, [encode(record, clock.now())])


@asynccontextmanager
async def opened(settings: Settings | None = None) -> AsyncIterator[Routing]:
    """With the database of the installation. Raises BadSetting."""
    settings = settings or known(Settings)
    database = Database(settings.engine_database_url, connections_max=1, name="obm")
    send: Send = leave_to_router
    try:
        yield Routing(database, Outbox(database, "router", send, sweep_after_s=0))
    finally:
        await database.close()


def find(pools: Sequence[Pool], wanted: str) -> Pool:
    for pool in pools:
        if wanted in (pool.pool_id, pool.name) and not pool.deleted:
            return pool
    raise BadSetting(f"there is no pool {wanted}: see `obm pool list`")


def pair(addresses: Sequence[str]) -> tuple[str, str]:
    """The IPv4 and the IPv6 address, empty where there is none. Raises BadSetting."""
    found = [address(one) for one in addresses if one]
    ipv4 = [one for one in found if ":" not in one]
    ipv6 = [one for one in found if ":" in one]
    if len(ipv4) > 1 or len(ipv6) > 1:
        raise BadSetting("an egress has one IPv4 and one IPv6 address: add another egress")
    return "".join(ipv4), "".join(ipv6)


def said(*addresses: str) -> str:
    return " or ".join(filter(None, addresses)) or "no address"


def address(text: str) -> str:
    """An address of IPv4 that is written as one of IPv6 is none of either. Raises BadSetting."""
    try:
        found = ip_address(text)
    except ValueError as error:
        raise BadSetting(f"{text!r} is not an IP address") from error
    if isinstance(found, IPv6Address) and (found.ipv4_mapped or found.scope_id):
        raise BadSetting(f"{text!r} is not an address that mail can leave from")
    return str(found)


def check_local(source_ip: str) -> None:
    """Raises BadSetting where nothing can leave from it: then no mail would."""
    family = socket.AF_INET6 if ":" in source_ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((source_ip, 0))
    except OSError as error:
        raise BadSetting(
            f"{source_ip} is not an address of this machine ({error.strerror}); if delivery "
            "runs on another that has it, say --elsewhere"
        ) from error


def host(text: str) -> str:
    try:
        return to_ascii(text) if text else ""
    except AddressError as error:
        raise BadSetting(str(error)) from error


def is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
