"""Looks up the DANE records of domains' MX hosts: RFC 7672 §2.2.

Answers count only if a validating resolver says that DNSSEC proves them (the AD bit, RFC 6840
§5.8), and only if nobody on the way can change what it says: over loopback, or over TLS.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.nameserver
import dns.rdata
import dns.resolver
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.TLSA import TLSA

from kernel import clock
from kernel.cache import Cache
from kernel.errors import ConfigError
from kernel.resolver import Resolver, parse_name_server
from mail import tlsa
from mail.tlsa import Tlsa
from services.delivery.domain.tls_policy import DaneHosts, TlsaRecords

TIMEOUT_S = 8.0  # of a domain's MX records, and of all lookups for a host
TTL_MIN_S, TTL_MAX_S = 30.0, 3600.0
FAILED_TTL_S = 30.0
HOSTS_MAX = 10_000
OCTETS_MAX = 32 * 1024 * 1024  # of their records
MX_MAX = 10  # hosts of a domain that are looked up
TLSA_MAX = 20  # records of a host
PAYLOAD = 1232  # octets of a response over UDP (DNS flag day 2020)
DOT_PORT = 853
SETTING = "DELIVERY_DNSSEC_NAMESERVERS"

logger = logging.getLogger(__name__)


class _DnsLookupFailed(Exception):
    """No answer: DNSSEC disproves it, or the resolver is unavailable."""


@dataclass(frozen=True, slots=True)
class _DnsAnswer:
    """name: after following aliases."""

    records: tuple[dns.rdata.Rdata, ...]
    is_secure: bool
    name: str
    ttl_s: float


@dataclass(frozen=True, slots=True)
class _CachedTlsa:
    records: TlsaRecords
    until_s: float  # by the monotonic clock


class DaneClient:
    """resolver: a validating one, see `validating_resolver`."""

    def __init__(self, resolver: dns.asyncresolver.Resolver) -> None:
        self._resolver = resolver
        self._hosts: Cache[_CachedTlsa] = Cache(
            self._fetch_host,
            entries_max=HOSTS_MAX,
            octets_max=OCTETS_MAX,
            octets_of=lambda one: one.records.octets,
        )

    async def look_up(self, domain: str) -> tuple[DaneHosts | None, float]:
        """The proven MX hosts of a domain with their records, and how long to rely on them. None:
        DNSSEC does not protect the domain's MX records, or no host of it has TLSA records."""
        try:
            answer = await self._query(domain, "MX")
        except _DnsLookupFailed as error:
            problem = f"the MX records of {domain} cannot be validated: {error}"
            logger.warning("delivery.dane.lookup_failed", extra={"problem": problem[:300]})
            return DaneHosts(problem=problem), FAILED_TTL_S
        if not answer.is_secure:
            return None, answer.ttl_s
        found = [one for one in answer.records if isinstance(one, MX)]
        found.sort(key=lambda one: one.preference)
        given = [one.exchange.to_text(omit_final_dot=True).lower() for one in found] or [domain]
        names = list(dict.fromkeys(given))[:MX_MAX]
        hosts = await asyncio.gather(*(self._hosts.get(name) for name in names))
        until_s = min(one.until_s for one in hosts)
        ttl_s = min(answer.ttl_s, until_s - clock.monotonic_s())
        records = {name: one.records for name, one in zip(names, hosts, strict=True)}
        return DaneHosts.of(domain, records), ttl_s

    async def close(self) -> None:
        await self._hosts.close()

    async def _fetch_host(self, host: str) -> tuple[_CachedTlsa, float]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                records, ttl_s = await self._records_of(host)
        except (_DnsLookupFailed, TimeoutError) as error:
            why = str(error) or f"no answer within {TIMEOUT_S:g} s"
            problem = f"the TLSA records of {host} cannot be validated: {why}"
            logger.warning("delivery.dane.lookup_failed", extra={"problem": problem[:300]})
            records, ttl_s = TlsaRecords(problem=problem), FAILED_TTL_S
        return _CachedTlsa(records, clock.monotonic_s() + ttl_s), ttl_s

    async def _records_of(self, host: str) -> tuple[TlsaRecords, float]:
        """Raises _DnsLookupFailed. Without secure addresses, a host has no DANE (§2.2.2)."""
        addresses = await asyncio.gather(*(self._query(host, kind) for kind in ("A", "AAAA")))
        ttl_s = min(one.ttl_s for one in addresses)
        if not all(one.is_secure for one in addresses):
            return TlsaRecords(), ttl_s
        for base in dict.fromkeys((addresses[0].name, host)):
            answer = await self._query(tlsa.record_name(base), "TLSA")
            found = [one for one in answer.records if isinstance(one, TLSA)]
            if len(found) > TLSA_MAX:  # a record set has no duplicates
                raise _DnsLookupFailed(f"there are more than {TLSA_MAX}")
            records = tuple(Tlsa(one.usage, one.selector, one.mtype, one.cert) for one in found)
            ttl_s = min(ttl_s, answer.ttl_s)
            if answer.is_secure and records:
                return TlsaRecords(records, names=tuple(dict.fromkeys((base, host)))), ttl_s
        return TlsaRecords(), ttl_s

    async def _query(self, name: str, kind: str) -> _DnsAnswer:
        """Raises _DnsLookupFailed."""
        try:
            absolute = dns.name.from_text(name)
            answer = await self._resolver.resolve(
                absolute, kind, lifetime=TIMEOUT_S, raise_on_no_answer=False
            )
            response = answer.response
        except dns.resolver.NXDOMAIN as error:
            response = error.response(absolute)  # type: ignore[no-untyped-call]
            answer = None
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise _DnsLookupFailed(f"{error}"[:200]) from error
        is_secure = bool(response.flags & dns.flags.AD)
        if answer is None or answer.rrset is None:
            return _DnsAnswer((), is_secure, name, TTL_MAX_S / 6)
        ttl_s = min(max(float(answer.rrset.ttl), TTL_MIN_S), TTL_MAX_S)
        alias = answer.canonical_name.to_text(omit_final_dot=True).lower()
        return _DnsAnswer(tuple(answer.rrset), is_secure, alias, ttl_s)


def validating_resolver(nameservers: Sequence[str]) -> dns.asyncresolver.Resolver:
    """A resolver that sets DO and AD. nameservers: `ip` or `ip:port` on loopback, or
    `tls://ip#name` or `tls://ip:port#name`, whose certificate must be for the name. Raises
    ConfigError."""
    resolver = Resolver(configure=False)
    try:
        resolver.nameservers = [parse_validating_server(text) for text in nameservers]
    except ValueError as error:
        raise ConfigError(f"{SETTING}: {error}") from error
    resolver.use_edns(0, dns.flags.DO, PAYLOAD)
    resolver.flags = dns.flags.RD | dns.flags.AD
    return resolver


def parse_validating_server(text: str) -> dns.nameserver.Nameserver:
    """Raises ValueError."""
    if not text.startswith("tls://"):
        server = parse_name_server(text)
        if not ip_address(server.answer_nameserver()).is_loopback:
            raise ValueError(f"{text} is not on loopback. Use tls://{text}#name of the server.")
        return server
    address, separator, name = text.removeprefix("tls://").partition("#")
    if not separator or not name:
        raise ValueError(f"{text} has no name for its certificate. Use {text}#name.")
    plain = parse_name_server(address)
    port = plain.answer_port() if plain.answer_port() != 53 else DOT_PORT
    return dns.nameserver.DoTNameserver(plain.answer_nameserver(), port, name)
