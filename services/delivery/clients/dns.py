"""The addresses of mail exchangers, kept as long as their owner says."""

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.resolver

from kernel import clock
from services.delivery.domain.walk import Address

TTL_MIN_S = 30.0
TTL_MAX_S = 3600.0
NOTHING_FOR_S = 30.0  # how long to believe that there is no answer
ENTRIES_MAX = 10_000


class Resolver(Protocol):
    async def addresses(self, host: str) -> list[Address]: ...


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: list[Address]
    until_s: float


class Names:
    """A and AAAA records, cached; what several ask for at once is asked once."""

    def __init__(
        self,
        *,
        timeout_s: float = 10.0,
        nameservers: list[str] | None = None,
        resolver: dns.asyncresolver.Resolver | None = None,
    ) -> None:
        self._resolver = resolver or dns.asyncresolver.Resolver(configure=nameservers is None)
        if nameservers is not None:
            self._resolver.nameservers = nameservers
        self._timeout_s = timeout_s
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[_Known]] = {}

    async def addresses(self, host: str) -> list[Address]:
        """Of a host or an address literal; empty when there are none, or nobody knows just now."""
        if (literal := as_literal(host)) is not None:
            return [literal]
        known = self._known.get(host)
        if known is None or known.until_s < clock.monotonic_s():
            known = await self._learn(host)
        return known.addresses

    async def _learn(self, host: str) -> _Known:
        if (asking := self._asking.get(host)) is None:
            asking = self._asking[host] = asyncio.create_task(self._ask(host))
            asking.add_done_callback(lambda _: self._asking.pop(host, None))
        known = await asyncio.shield(asking)
        while len(self._known) >= ENTRIES_MAX:
            del self._known[next(iter(self._known))]
        self._known[host] = known
        return known

    async def _ask(self, host: str) -> _Known:
        found: list[Address] = []
        ttl_s = TTL_MAX_S
        for kind in ("A", "AAAA"):
            try:
                answer = await self._resolver.resolve(host, kind, lifetime=self._timeout_s)
            except (dns.exception.DNSException, OSError):
                continue
            found += [ip_address(record.to_text()) for record in answer]
            ttl_s = min(ttl_s, _ttl(answer))
        lasts_s = max(ttl_s, TTL_MIN_S) if found else NOTHING_FOR_S
        return _Known(found, clock.monotonic_s() + lasts_s)


def _ttl(answer: dns.resolver.Answer) -> float:
    return float(answer.rrset.ttl) if answer.rrset is not None else TTL_MIN_S


def as_literal(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
