"""The addresses of MX hosts, cached for the TTL of their records."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.resolver

from kernel.cache import Cache
from mail.reachable import Address

TTL_MIN_S = 30.0
TTL_MAX_S = 3600.0
NEGATIVE_TTL_S = 30.0  # how long a missing or incomplete answer is cached
ENTRIES_MAX = 10_000


class NoSuchHost(Exception):
    """DNS has answered that the host does not exist, or has neither A nor AAAA records."""


class Resolver(Protocol):
    async def addresses(self, host: str) -> list[Address]:
        """Raises NoSuchHost."""


@dataclass(frozen=True, slots=True)
class _CachedAddresses:
    """certain: if there are no addresses, DNS has answered so."""

    addresses: list[Address]
    certain: bool


class CachingResolver:
    """A and AAAA records, cached. Simultaneous queries for a host are sent once."""

    def __init__(
        self,
        resolver: dns.asyncresolver.Resolver,
        *,
        timeout_s: float = 10.0,
    ) -> None:
        self._resolver = resolver
        self._timeout_s = timeout_s
        self._cache: Cache[_CachedAddresses] = Cache(self._query, entries_max=ENTRIES_MAX)

    async def addresses(self, host: str) -> list[Address]:
        """The addresses of a host or an address literal; empty when DNS does not answer.

        Raises NoSuchHost.
        """
        if (literal := parse_address_literal(host)) is not None:
            return [literal]
        cached = await self._cache.get(host)
        if cached.certain and not cached.addresses:
            raise NoSuchHost(host)
        return cached.addresses

    async def _query(self, host: str) -> tuple[_CachedAddresses, float]:
        found: list[Address] = []
        ttl_s, certain = TTL_MAX_S, True
        for kind in ("A", "AAAA"):
            try:
                answer = await self._resolver.resolve(host, kind, lifetime=self._timeout_s)
            except dns.resolver.NXDOMAIN:
                break
            except dns.resolver.NoAnswer:
                continue
            except (dns.exception.DNSException, OSError):
                certain = False
                continue
            found += [ip_address(record.to_text()) for record in answer]
            ttl_s = min(ttl_s, _ttl(answer))
        # An answer for one family alone is cached as briefly as none.
        lifetime_s = max(ttl_s, TTL_MIN_S) if found and certain else NEGATIVE_TTL_S
        return _CachedAddresses(found, certain), lifetime_s


def _ttl(answer: dns.resolver.Answer) -> float:
    return float(answer.rrset.ttl) if answer.rrset is not None else TTL_MIN_S


def parse_address_literal(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
