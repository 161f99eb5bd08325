"""Egress sources, as operators change them. The outbox publishes the records that
have changed."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Literal

import grpc

from contracts.router.v1 import egress_service_pb2 as pb
from contracts.router.v1.directory_pb2 import EgressSource
from contracts.router.v1.egress_service_pb2_grpc import EgressServiceServicer
from contracts.router.v1.policies_pb2 import OverrideRemoved, PolicyCommand
from kernel import clock
from kernel.database import Database, Transaction
from kernel.ids import uuid7_text
from kernel.outbox import Outbox
from kernel.rpc import Context, RequestError, map_errors
from kernel.settings import PORT_MAX, split_address
from kernel.topics import encode
from mail.address import to_ascii
from services.router.api.policies import PolicyAdmin
from services.router.api.pools import find_pool, start_warmup
from services.router.domain.overrides import SUSPENDS
from services.router.domain.policy_events import warmup_scope
from services.router.store import directory
from services.router.store.notify import SchedulerNotifier

DEFAULT_POOL = "default"  # its name
HOST = "egress_host"
CHANGEABLE: tuple[Literal["ehlo", "paused", "egress_host"], ...] = ("ehlo", "paused", "egress_host")


@dataclass(frozen=True, slots=True)
class SourceAdmin:
    """Changes within a transaction. Raises RequestError, with the field that is wrong. ramps: the
    names of those of warmups."""

    outbox: Outbox
    ramps: Collection[str]

    async def add(
        self,
        tx: Transaction,
        addresses: Sequence[str],
        *,
        pool: str = DEFAULT_POOL,
        ehlo: str = "",
        ramp: str = "",
        egress_host: str = "",
    ) -> EgressSource:
        """addresses: at most one of each family; none lets the system choose. pool: id or name.
        ramp: of the warmup; empty: the source is warm. egress_host: that owns the addresses."""
        ipv4, ipv6 = address_pair(addresses)
        added = EgressSource(
            egress_id=uuid7_text(),
            version=1,
            pool_id=await _lock_pools(tx, pool),
            source_ip=ipv4,
            source_ipv6=ipv6,
            ehlo=normalize_host_name(ehlo),
            egress_host=normalize_egress_host(egress_host, addresses),
        )
        if not await directory.add_source(tx, added):
            raise _taken(ipv4, ipv6)
        await self._publish(tx, added)
        if ramp:
            with refuse_field("warmup"):
                await start_warmup(tx, added.egress_id, ramp, ramps=self.ramps)
        return added

    async def change(
        self,
        tx: Transaction,
        egress_id: str,
        *,
        addresses: Sequence[str] = (),
        pool: str | None = None,
        ehlo: str | None = None,
        paused: bool | None = None,
        egress_host: str | None = None,
    ) -> EgressSource:
        """What is not given stays as it is."""
        pool_id = await _lock_pools(tx, pool)
        if pool_id and not await directory.is_same_cell(tx, egress_id, pool_id):
            raise RequestError(
                "The pool is in another cell than the source. Move the pool of the source there, or"
                " remove the source and add it to the other pool.",
                grpc.StatusCode.FAILED_PRECONDITION,
                field="pool_id",
            )
        changed = await directory.change_source(
            tx,
            egress_id,
            pool_id=pool_id or None,
            ehlo=None if ehlo is None else normalize_host_name(ehlo),
            paused=paused,
            egress_host=None if egress_host is None else normalize_egress_host(egress_host),
        )
        if changed and addresses:
            ipv4, ipv6 = address_pair(addresses)
            changed = await directory.move_source(tx, egress_id, source_ip=ipv4, source_ipv6=ipv6)
            if changed is None:
                raise _taken(ipv4, ipv6)
        if changed and changed.egress_host:
            check_has_address(changed.source_ip or changed.source_ipv6)
        return await self._published(tx, changed)

    async def remove(self, tx: Transaction, egress_id: str) -> EgressSource:
        return await self._published(tx, await directory.change_source(tx, egress_id, deleted=True))

    async def _published(self, tx: Transaction, source: EgressSource | None) -> EgressSource:
        if source is None:
            raise RequestError("egress source not found", grpc.StatusCode.NOT_FOUND)
        await self._publish(tx, source)
        return source

    async def _publish(self, tx: Transaction, source: EgressSource) -> None:
        """Left to the sweep of the outbox: it is not urgent."""
        self.outbox.leave_to_sweep(await self.outbox.add(tx, [encode(source, clock.now())]))


@dataclass(frozen=True, slots=True)
class EgressServicer(EgressServiceServicer):
    database: Database
    sources: SourceAdmin
    tables: PolicyAdmin
    notifier: SchedulerNotifier

    @map_errors
    async def AddSource(  # noqa: N802 - a name of the contract
        self, request: pb.AddSourceRequest, _: Context
    ) -> pb.AddSourceResponse:
        async with self.database.transaction() as tx:
            added = await self.sources.add(
                tx,
                request.addresses,
                pool=request.pool_id or DEFAULT_POOL,
                ehlo=request.ehlo,
                ramp=request.ramp,
                egress_host=request.egress_host,
            )
            await self.notifier.notify(tx, self.notifier.directory.names)
        return pb.AddSourceResponse(source=added)

    @map_errors
    async def ChangeSource(  # noqa: N802 - a name of the contract
        self, request: pb.ChangeSourceRequest, _: Context
    ) -> pb.ChangeSourceResponse:
        given = {name for name in CHANGEABLE if request.HasField(name)}
        async with self.database.transaction() as tx:
            changed = await self.sources.change(
                tx,
                request.egress_id,
                addresses=request.addresses,
                pool=request.pool_id if request.HasField("pool_id") else None,
                ehlo=request.ehlo if "ehlo" in given else None,
                paused=request.paused if "paused" in given else None,
                egress_host=request.egress_host if "egress_host" in given else None,
            )
        return pb.ChangeSourceResponse(source=changed)

    @map_errors
    async def ResumeSource(  # noqa: N802 - a name of the contract
        self, request: pb.ResumeSourceRequest, _: Context
    ) -> pb.ResumeSourceResponse:
        async with self.database.transaction() as tx:
            paused = None if request.site else False
            changed = await self.sources.change(tx, request.egress_id, paused=paused)
            scope = warmup_scope(request.egress_id, request.site).key
            for one in await self.tables.overrides(tx):
                if one.scope == scope and one.action in SUSPENDS:
                    removed = OverrideRemoved(
                        override_id=one.override_id, removed_by=request.resumed_by
                    )
                    await self.tables.execute(tx, PolicyCommand(remove_override=removed))
            await self.notifier.notify(tx, self.notifier.directory.names)
        return pb.ResumeSourceResponse(source=changed)

    @map_errors
    async def RemoveSource(  # noqa: N802 - a name of the contract
        self, request: pb.RemoveSourceRequest, _: Context
    ) -> pb.RemoveSourceResponse:
        async with self.database.transaction() as tx:
            return pb.RemoveSourceResponse(source=await self.sources.remove(tx, request.egress_id))


@contextmanager
def refuse_field(name: str) -> Iterator[None]:
    """A reason why a value does not apply becomes the refusal of this field."""
    try:
        yield
    except ValueError as error:
        raise RequestError(str(error), field=name) from error


async def _lock_pools(tx: Transaction, pool: str | None) -> str:
    """The id of a pool, which may be a name; empty for None. No other transaction changes pools or
    sources until the end of this one."""
    pools = await directory.load_pools(tx, lock=True)
    with refuse_field("pool_id"):
        return "" if pool is None else find_pool(pools, pool).pool_id


def address_pair(addresses: Sequence[str]) -> tuple[str, str]:
    """The IPv4 and the IPv6 address, each empty if absent. Raises RequestError."""
    found = [normalize_address(one) for one in addresses]
    ipv4 = [one for one in found if ":" not in one]
    ipv6 = [one for one in found if ":" in one]
    if len(ipv4) > 1 or len(ipv6) > 1:
        raise RequestError(
            "An egress source has at most one IPv4 and one IPv6 address. Add another source.",
            field="addresses",
        )
    return "".join(ipv4), "".join(ipv6)


def normalize_address(text: str) -> str:
    """Refused are what no connection can have as its source on the Internet or within a machine:
    IPv4-mapped, scoped, link-local, unspecified, multicast and reserved addresses. Raises
    RequestError."""
    try:
        found = ip_address(text)
    except ValueError as error:
        raise RequestError(f"{text!r} is not an IP address.", field="addresses") from error
    is_reserved = found.is_reserved and not found.is_loopback  # ::1 is both
    other = found.is_link_local or found.is_unspecified or found.is_multicast or is_reserved
    if other or (isinstance(found, IPv6Address) and (found.ipv4_mapped or found.scope_id)):
        raise RequestError(f"{text!r} cannot be used as a source address.", field="addresses")
    return str(found)


def normalize_host_name(text: str) -> str:
    with refuse_field("ehlo"):  # AddressError is a ValueError
        return to_ascii(text) if text else ""


def normalize_egress_host(text: str, addresses: Sequence[str] | None = None) -> str:
    """host:port, with brackets around an IPv6 address. addresses: that it owns, if known. Raises
    RequestError."""
    if not text:
        return ""
    if addresses is not None:
        check_has_address("".join(addresses))
    host, port = split_address(text)
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= PORT_MAX and host):
        raise RequestError(
            f"{text!r} is no egress host. Use host:port, as out1.example.com:1080.", field=HOST
        )
    try:
        name = str(ip_address(host))
    except ValueError:
        try:
            name = to_ascii(host)
        except ValueError as error:
            raise RequestError(str(error), field=HOST) from error
    return f"[{name}]:{int(port)}" if ":" in name else f"{name}:{int(port)}"


def check_has_address(address: str) -> None:
    """Raises RequestError."""
    if not address:
        detail = "An egress host sends from addresses that it owns. Give the source an address."
        raise RequestError(detail, field=HOST)


def _taken(*addresses: str) -> RequestError:
    named = " or ".join(filter(None, addresses)) or "no address"
    return RequestError(
        f"There is an egress source with {named} already.",
        grpc.StatusCode.ALREADY_EXISTS,
        field="addresses",
    )
