"""Writes pools and egress sources, which router publishes."""

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
from contracts.router.v1.policies_pb2 import PolicyCommand, WarmupCommand
from contracts.router.v1.results_pb2 import Results
from kernel import clock
from kernel.database import Database, Transaction
from kernel.errors import ConfigError
from kernel.ids import uuid7_text
from kernel.outbox import Outbox, Send
from kernel.topics import encode
from mail.address import AddressError, to_ascii
from services.router.app.rules import read_adaptation_rules
from services.router.settings import Settings
from services.router.store import directory, results

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

    async def add_pool(self, name: str) -> Pool:
        if not name.strip():
            raise ConfigError("A pool must have a name.")
        pool = Pool(pool_id=uuid7_text(), version=1, name=name, cell=CELL)
        async with self.database.transaction() as tx:
            if not await directory.add_pool(tx, pool):
                raise ConfigError(f"There is a pool {name} already.")
            await self._publish(tx, pool)
        return pool

    async def add_dedicated_pool(
        self, name: str, count: int, *, used: Collection[str], ramp: str = ""
    ) -> Pool:
        """A pool with free sources of the spare pool. A pool of this name without a tenant, which a
        command that was cut off has left, is used again. used: the ids of pools with tenants."""
        async with self.database.transaction() as tx:
            pools = await directory.load_pools(tx, lock=True)
            left = [one for one in pools if one.name == name and one.pool_id not in used]
            pool = left[0] if left else Pool(pool_id=uuid7_text(), version=1, name=name, cell=CELL)
            if pool.deleted or not (left or await directory.add_pool(tx, pool)):
                raise ConfigError(f"There is a pool {name} already.")
            count -= sum(one.pool_id == pool.pool_id for one in await self._egresses(tx))
            moved = await directory.move_to_pool(tx, SPARE_POOL, pool.pool_id, limit=max(count, 0))
            if len(moved) < count:
                raise ConfigError(
                    f"There is no free egress source: add one with `obm egress add ADDRESS --pool"
                    f" {SPARE_POOL}`. The pool has {len(moved)} of the {count} that are needed."
                )
            await self._publish(tx, pool)
            for source in moved:
                await self._publish(tx, source)
                if ramp:
                    await self._start_warmup(tx, source.egress_id, ramp)
        return pool

    async def remove_pool(self, pool: str) -> None:
        """pool: id or name. Raises ConfigError."""
        async with self.database.transaction() as tx:
            pools = await directory.load_pools(tx, lock=True)
            found = find_pool(pools, pool)
            if users := [one.name for one in pools if one.overflow_pool_id == found.pool_id]:
                raise ConfigError(
                    f"Pool {users[0]} overflows to {pool}. First end that:"
                    f" `obm pool set-overflow {users[0]}`."
                )
            removed = await directory.remove_pool(tx, found.pool_id)
            if removed is None:
                raise ConfigError(
                    f"Pool {pool} has egress sources. Remove them first, see `obm egress list`."
                )
            await self._publish(tx, removed)

    async def set_overflow(self, pool: str, overflow: str) -> Pool:
        """pool, overflow: id or name; an empty overflow is none. Raises ConfigError."""
        async with self.database.transaction() as tx:
            pools = await directory.load_pools(tx, lock=True)
            found = find_pool(pools, pool)
            overflow_id = find_pool(pools, overflow).pool_id if overflow else ""
            if found.pool_id in overflow_chain(pools, overflow_id):
                raise ConfigError(
                    f"Mail of {pool} would overflow to {pool} itself. Choose a pool that does not"
                    " overflow to it, see `obm pool list`."
                )
            changed = await directory.set_overflow_pool(tx, found.pool_id, overflow_id)
            await self._publish(tx, changed)
        return changed

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
                await self._start_warmup(tx, added.egress_id, ramp)
        return added

    async def _start_warmup(self, tx: Transaction, egress_id: str, ramp: str) -> None:
        if ramp not in self.ramps:
            raise ConfigError(f"There is no ramp {ramp!r}. Use {', '.join(self.ramps)}.")
        command = WarmupCommand(egress_id=egress_id, action="start", ramp=ramp)
        await results.append(tx, Results(commands=[PolicyCommand(warmup=command)]))

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
    for pool in pools:
        if name in (pool.pool_id, pool.name) and not pool.deleted:
            return pool
    raise ConfigError(f"There is no pool {name}. See `obm pool list`.")


def overflow_chain(pools: Sequence[Pool], pool_id: str) -> list[str]:
    """The pool, the one it overflows to, and so on. Mail takes one step of it only."""
    next_ids = {pool.pool_id: pool.overflow_pool_id for pool in pools}
    chain: list[str] = []
    while pool_id and pool_id not in chain:
        chain.append(pool_id)
        pool_id = next_ids[pool_id]
    return chain


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
