"""The addresses of MX hosts, cached for the TTL of their records, and for longer while DNS is away:
RFC 8767."""

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.resolver

from kernel import clock
from kernel.cache import Cache
from kernel.resolver import EmptyAnswer
from mail.reachable import Address

TTL_MIN_S = 30.0
TTL_MAX_S = 3600.0
NEGATIVE_TTL_S = 30.0  # how long a missing or incomplete answer is cached
STALE_S = 3600.0  # how long addresses are used after their TTL if DNS does not answer
STALE_AFTER_S = 1.8  # of silence (RFC 8767 §5)
ENTRIES_MAX = 10_000


class NoSuchHost(Exception):
    """DNS has answered that the host does not exist, or has neither A nor AAAA records."""


class HostResolver(Protocol):
    async def addresses(self, host: str) -> list[Address]:
        """Raises NoSuchHost."""


@dataclass(frozen=True, slots=True)
class _CachedAddresses:
    """certain: if there are no addresses, DNS has answered so. stale_s: until when they are used if
    DNS does not answer."""

    addresses: list[Address]
    certain: bool
    stale_s: float = 0.0

    @property
    def is_usable(self) -> bool:
        return bool(self.addresses) and clock.monotonic_s() < self.stale_s


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
        cached = await self._cached(host)
        if cached.certain and not cached.addresses:
            raise NoSuchHost(host)
        return cached.addresses

    async def _cached(self, host: str) -> _CachedAddresses:
        entry = self._cache.peek(host)
        if entry is None or entry.is_fresh or not entry.value.is_usable:
            return await self._cache.get(host)
        lookup = self._cache.refresh(host)
        await asyncio.wait([lookup], timeout=STALE_AFTER_S)
        return lookup.result() if lookup.done() else entry.value

    async def _query(self, host: str) -> tuple[_CachedAddresses, float]:
        found: list[Address] = []
        ttl_s, certain, proven = TTL_MAX_S, True, True
        for kind in ("A", "AAAA"):
            try:
                answer = await self._resolver.resolve(host, kind, lifetime=self._timeout_s)
            except dns.resolver.NXDOMAIN:
                break
            except dns.resolver.NoAnswer:
                continue
            except EmptyAnswer:  # some servers respond so if there are addresses of one family
                proven = False
                continue
            except (dns.exception.DNSException, OSError):
                certain = False
                continue
            found += [ip_address(record.to_text()) for record in answer]
            ttl_s = min(ttl_s, _ttl(answer))
        certain = certain and (proven or bool(found))
        if not found and not certain:
            before = self._cache.peek(host)
            if before is not None and before.value.is_usable:
                return before.value, NEGATIVE_TTL_S
        # An answer for one family alone is cached as briefly as none.
        lifetime_s = max(ttl_s, TTL_MIN_S) if found and certain else NEGATIVE_TTL_S
        stale_s = clock.monotonic_s() + lifetime_s + STALE_S
        return _CachedAddresses(found, certain, stale_s), lifetime_s


def _ttl(answer: dns.resolver.Answer) -> float:
    return float(answer.rrset.ttl) if answer.rrset is not None else TTL_MIN_S


def parse_address_literal(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
