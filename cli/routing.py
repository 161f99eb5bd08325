"""Writes egress sources, which router publishes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from cli.environment import load_settings
from contracts.router.v1.directory_pb2 import EgressSource, Pool
from kernel import clock
from kernel.database import Database, Transaction
from kernel.errors import ConfigError
from kernel.ids import uuid7_text
from kernel.outbox import Outbox, Send
from kernel.topics import encode
from mail.address import AddressError, to_ascii
from services.router.api import pools as pools_of_router
from services.router.app.rules import read_adaptation_rules
from services.router.settings import Settings
from services.router.store import directory

T = TypeVar("T")
CELL = "default"
SPARE_POOL = "spare"  # whose sources no tenant uses yet


async def leave_to_router(_: Sequence[Message]) -> None:
    """Publish nothing: a running router sweeps the outbox, and a starting one publishes
    everything."""


@dataclass(frozen=True, slots=True)
class RoutingAdmin:
    database: Database
    outbox: Outbox
    ramps: Collection[str]

    async def add_source(
        self, *, pool: str, addresses: Sequence[str], ehlo: str, ramp: str = ""
    ) -> EgressSource:
        """pool: id or name. addresses: at most one of each family; none lets the system choose.
        ramp: of its warmup; empty: the source is warm."""
        ipv4, ipv6 = address_pair(addresses)
        added = EgressSource(
            egress_id=uuid7_text(),
            version=1,
            source_ip=ipv4,
            source_ipv6=ipv6,
            ehlo=normalize_host_name(ehlo),
        )
        async with self.database.transaction() as tx:
            added.pool_id = find_pool(await directory.load_pools(tx), pool).pool_id
            if not await directory.add_source(tx, added):
                raise ConfigError(
                    f"There is an egress source with {describe_addresses(ipv4, ipv6)} already."
                )
            await self._publish(tx, added)
            if ramp:
                try:
                    await pools_of_router.start_warmup(tx, added.egress_id, ramp, ramps=self.ramps)
                except ValueError as error:
                    raise ConfigError(str(error)) from error
        return added

    async def move_source(self, egress_id: str, addresses: Sequence[str]) -> EgressSource:
        """Change the addresses; at least one is required. Raises ConfigError."""
        ipv4, ipv6 = address_pair(addresses)
        async with self.database.transaction() as tx:
            if not any(one.egress_id == egress_id for one in await self._egresses(tx)):
                raise ConfigError(f"There is no egress source {egress_id}. See `obm egress list`.")
            moved = await directory.move_source(tx, egress_id, source_ip=ipv4, source_ipv6=ipv6)
            if moved is None:
                raise ConfigError(
                    f"There is an egress source with {describe_addresses(ipv4, ipv6)} already."
                )
            await self._publish(tx, moved)
        return moved

    async def change_source(
        self, egress_id: str, *, paused: bool | None = None, deleted: bool | None = None
    ) -> EgressSource:
        async with self.database.transaction() as tx:
            changed = None
            if is_id(egress_id):
                changed = await directory.change_source(
                    tx, egress_id, paused=paused, deleted=deleted
                )
            if changed is None:
                raise ConfigError(f"There is no egress source {egress_id}. See `obm egress list`.")
            await self._publish(tx, changed)
        return changed

    async def pools(self) -> list[Pool]:
        async with self.database.transaction() as tx:
            return [pool for pool in await directory.load_pools(tx) if not pool.deleted]

    async def egresses(self) -> list[EgressSource]:
        async with self.database.transaction() as tx:
            return await self._egresses(tx)

    async def _egresses(self, tx: Transaction) -> list[EgressSource]:
        return [one for one in await directory.load_all_sources(tx) if not one.deleted]

    async def _publish(self, tx: Transaction, record: Message) -> None:
        await self.outbox.add(tx, [encode(record, clock.now())])


@asynccontextmanager
async def open_routing(settings: Settings | None = None) -> AsyncIterator[RoutingAdmin]:
    """Open the routing tables in the database of the installation. Raises ConfigError."""
    settings = settings or load_settings(Settings)
    database = Database(settings.system_database_url, connections_max=1, name="obm")
    send: Send = leave_to_router
    try:
        ramps = read_adaptation_rules(settings).ramps
        yield RoutingAdmin(database, Outbox(database, "router", send, sweep_after_s=0), ramps)
    finally:
        await database.close()


def run_in_routing(action: Callable[[RoutingAdmin], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_routing() as routing:
            return await action(routing)

    return asyncio.run(run())


def find_pool(pools: Sequence[Pool], name: str) -> Pool:
    """Raises ConfigError."""
    try:
        return pools_of_router.find_pool(pools, name)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def address_pair(addresses: Sequence[str]) -> tuple[str, str]:
    """The IPv4 and the IPv6 address, each empty if absent. Raises ConfigError."""
    found = [normalize_address(one) for one in addresses if one]
    ipv4 = [one for one in found if ":" not in one]
    ipv6 = [one for one in found if ":" in one]
    if len(ipv4) > 1 or len(ipv6) > 1:
        raise ConfigError(
            "An egress source has at most one IPv4 and one IPv6 address. Add another source."
        )
    return "".join(ipv4), "".join(ipv6)


def describe_addresses(*addresses: str) -> str:
    return " or ".join(filter(None, addresses)) or "no address"


def normalize_address(text: str) -> str:
    """Normalize an IP address; IPv4-mapped and scoped IPv6 addresses are refused. Raises
    ConfigError."""
    try:
        found = ip_address(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not an IP address.") from error
    if isinstance(found, IPv6Address) and (found.ipv4_mapped or found.scope_id):
        raise ConfigError(f"{text!r} cannot be used as a source address.")
    return str(found)


def check_local(source_ip: str) -> None:
    """Raises ConfigError if this machine cannot send from the address."""
    family = socket.AF_INET6 if ":" in source_ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((source_ip, 0))
    except OSError as error:
        raise ConfigError(
            f"{source_ip} is not an address of this machine ({error.strerror}). If "
            "delivery runs on another machine, add --remote."
        ) from error


def normalize_host_name(text: str) -> str:
    try:
        return to_ascii(text) if text else ""
    except AddressError as error:
        raise ConfigError(str(error)) from error


def is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
