"""DNS lookups: by a resolver of the settings or the host, and at the authoritative servers.

A cache may have an answer for hours; the authoritative servers have the records as they are now.
"""

import random
import socket
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeVar, cast

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.resolver
from dns.rdtypes.txtbase import TXTBase

from kernel.errors import ConfigError

SERVERS_MAX = 3  # that are queried for one record
ALIASES_MAX = 8
QUERY_TIMEOUT_S = 4.0
DNS_PORT = 53
T = TypeVar("T")
ANSWERED = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


class LookupFailed(Exception):
    """No server has answered: SERVFAIL, REFUSED, nothing, or silence."""


class EmptyAnswer(dns.exception.DNSException):
    """A response without an error and without records, by which no zone says that there are none:
    it has not the SOA record of one (RFC 2308 §3), and is not of a server of one."""


class Resolver(dns.asyncresolver.Resolver):
    """That there are no records is an answer only if a zone says so. Servers that are not well
    respond with nothing, and what is concluded from it may be final."""

    async def resolve(self, *args: Any, **options: Any) -> dns.resolver.Answer:  # noqa: ANN401
        """Raises DNSException: EmptyAnswer, or one of the base class."""
        raises = options.get("raise_on_no_answer", True)
        answer = await super().resolve(*args, **options | {"raise_on_no_answer": False})
        if answer.rrset is None and not _is_proven(answer.response):
            raise EmptyAnswer(f"an empty response for {answer.qname} {answer.rdtype.name}")  # type: ignore[no-untyped-call]
        if answer.rrset is None and raises:
            raise dns.resolver.NoAnswer(response=answer.response)  # type: ignore[no-untyped-call]
        return answer

    async def resolve_name(self, *args: Any, **options: Any) -> dns.resolver.HostAnswers:  # noqa: ANN401
        """Some servers have nothing to say but IPv4 addresses."""
        try:
            return await super().resolve_name(*args, **options)
        except EmptyAnswer:
            return await super().resolve_name(*args, **options | {"family": socket.AF_INET})


def _is_proven(response: dns.message.QueryMessage) -> bool:
    """Whether what the response does not have does not exist. An alias has no such records where it
    leads to."""
    soa = any(one.rdtype is dns.rdatatype.SOA for one in response.authority)
    return soa or bool(response.answer) or bool(response.flags & dns.flags.AA)


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The values of a name and type; empty if there are none. alias: the target of its CNAME.
    ttl_s: of the values; 0: unknown."""

    values: tuple[str, ...] = ()
    alias: str = ""
    ttl_s: float = 0.0


class AuthoritativeResolver:
    """Queries the authoritative servers of a name's zone. recursive: finds them; it answers in
    their place where no zone is found (a private root). is_allowed: for the servers' addresses,
    which the owner of a zone can choose."""

    def __init__(
        self,
        recursive: dns.asyncresolver.Resolver,
        *,
        is_allowed: Callable[[str], bool],
        port: int = DNS_PORT,
        timeout_s: float = QUERY_TIMEOUT_S,
    ) -> None:
        self._recursive = recursive
        self._is_allowed = is_allowed
        self._port = port
        self._timeout_s = timeout_s

    async def look_up(self, name: str, kind: str) -> LookupResult:
        """Follows aliases, also into other zones. Raises LookupFailed."""
        alias = ""
        following = name
        try:
            for _ in range(ALIASES_MAX):
                values, target = await self._query(dns.name.from_text(following), kind)
                alias = alias or target
                if values or not target:
                    return LookupResult(tuple(values), alias)
                following = target
        except (dns.exception.DNSException, OSError, UnicodeError, ValueError) as error:
            raise LookupFailed(f"{name}: {error!r}") from error
        return LookupResult((), alias)

    async def zone_of(self, name: str) -> str:
        """The zone that has the name; empty if none is found. Raises LookupFailed."""
        try:
            zone = await self._zone(dns.name.from_text(name))
        except (dns.exception.DNSException, OSError, UnicodeError, ValueError) as error:
            raise LookupFailed(f"{name}: {error!r}") from error
        return zone.to_text(omit_final_dot=True) if zone else ""

    async def _query(self, name: dns.name.Name, kind: str) -> tuple[tuple[str, ...], str]:
        """The values, and the last target of the aliases."""
        zone = await self._zone(name)
        query = self._query_zone(zone, name, kind) if zone else self._query_recursive(name, kind)
        try:
            message = await query
        except dns.resolver.NXDOMAIN:
            return (), ""
        chain = message.resolve_chaining()
        target = chain.canonical_name.to_text(omit_final_dot=True) if chain.cnames else ""
        return tuple(text_of(one) for one in chain.answer or ()), target

    async def _zone(self, name: dns.name.Name) -> dns.name.Name | None:
        try:
            return await dns.asyncresolver.zone_for_name(name, resolver=self._recursive)
        except dns.resolver.NoRootSOA:
            return None

    async def _query_zone(
        self, zone: dns.name.Name, name: dns.name.Name, kind: str
    ) -> dns.message.QueryMessage:
        """The first answer of the zone's servers. Raises DNSException if none answers."""
        addresses = await self._server_addresses(zone)
        query = dns.message.make_query(name, kind, use_edns=0)
        query.flags &= ~dns.flags.RD
        for address in addresses:
            try:
                message, _ = await dns.asyncquery.udp_with_fallback(
                    query, address, timeout=self._timeout_s, port=self._port
                )
            except (dns.exception.DNSException, OSError):
                continue
            if message.rcode() in ANSWERED and message.flags & dns.flags.AA:
                return _as_query_message(message)
        raise OSError(f"no authoritative answer from {len(addresses)} servers")

    async def _server_addresses(self, zone: dns.name.Name) -> list[str]:
        answer = await self._recursive.resolve(zone, "NS")
        hosts = [record.target for record in answer]
        random.shuffle(hosts)
        found: list[str] = []
        for host in hosts:
            try:
                addresses = (await self._recursive.resolve_name(host)).addresses()
            except dns.exception.DNSException:
                continue
            found += [one for one in addresses if self._is_allowed(one)]
            if len(found) >= SERVERS_MAX:
                break
        return found[:SERVERS_MAX]

    async def _query_recursive(self, name: dns.name.Name, kind: str) -> dns.message.QueryMessage:
        """The answer of the recursive resolver. Raises NXDOMAIN."""
        answer = await self._recursive.resolve(name, kind, raise_on_no_answer=False)
        return _as_query_message(answer.response)


def _as_query_message(message: dns.message.Message) -> dns.message.QueryMessage:
    if not isinstance(message, dns.message.QueryMessage):
        raise OSError("the answer is no answer to a query")
    return message


async def look_up(
    resolver: dns.asyncresolver.Resolver, name: str, kind: str
) -> LookupResult | None:
    """The values by a recursive resolver; None if the lookup failed."""
    try:
        found = await resolver.resolve(name, kind, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN:
        return LookupResult()
    except (dns.exception.DNSException, OSError, UnicodeError, ValueError):
        return None
    if found.rrset is None:
        return LookupResult()
    return LookupResult(tuple(map(text_of, found.rrset)), ttl_s=float(found.rrset.ttl))


async def run_queries(
    resolver: dns.asyncresolver.Resolver,
    queries: Generator[tuple[str, str], LookupResult | None, T],
) -> T:
    """What a generator returns that yields names and record types, and is sent what they have."""
    try:
        query = next(queries)
        while True:
            query = queries.send(await look_up(resolver, *query))
    except StopIteration as end:
        return cast(T, end.value)


def text_of(record: dns.rdata.Rdata) -> str:
    if isinstance(record, TXTBase):
        return b"".join(record.strings).decode("utf-8", "replace")
    return record.to_text()


def system_resolver(
    nameservers: Sequence[str], *, timeout_s: float, setting: str = "NAMESERVERS"
) -> Resolver:
    """A resolver with the given name servers (`ip` or `ip:port`), or with those of the host.
    setting: that names them. Raises ConfigError."""
    try:
        resolver = Resolver(configure=not nameservers)
    except dns.resolver.NoResolverConfiguration:
        resolver = Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
    if nameservers:
        try:
            resolver.nameservers = [parse_name_server(text) for text in nameservers]
        except ValueError as error:
            raise ConfigError(f"{setting}: {error}") from error
    resolver.lifetime = timeout_s
    return resolver


def parse_name_server(text: str) -> dns.nameserver.Nameserver:
    """`ip`, `ip:port` or `[ip]:port`. Raises ValueError."""
    host, _, port = text.rpartition(":") if "]:" in text or text.count(":") == 1 else (text, "", "")
    return dns.nameserver.Do53Nameserver(str(ip_address(host.strip("[]"))), int(port or 53))
