"""The DNS lookups of self-checks: what receiving servers look up about an egress source."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import dns.exception
import dns.resolver

from kernel.resolver import text_of
from mail import dnsbl
from mail.spf import SpfResult, check_host
from services.router.clients.dns import Resolver
from services.router.domain.egress import EgressSource
from services.router.domain.source_checks import (
    Names,
    Outcome,
    addresses_of,
    check_forward,
    check_ptr,
    check_spf,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceFindings:
    """is_complete: every check has an outcome. listings: by zone, those that answered."""

    outcomes: tuple[Outcome, ...] = ()
    is_complete: bool = True
    listings: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceDns:
    """ehlo: of sources without a name. spf_domain: empty for no check."""

    resolver: Resolver
    ehlo: str
    spf_domain: str = ""
    zones: Sequence[str] = ()

    async def look_up(self, name: str, kind: str) -> Names:
        """Empty if there are no such records, None if the lookup failed."""
        try:
            found = await self.resolver.resolve(name, kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return ()
        except (dns.exception.DNSException, OSError, UnicodeError):
            return None
        return [text_of(one) for one in found.rrset or ()]

    async def usable_zones(self) -> list[tuple[str, int]]:
        """The zones that answer their test points, with each address family that they do it for
        (RFC 5782 §5). A zone that lists everything or nothing is out of service."""
        tested = [(zone, version) for zone in self.zones for version in (4, 6)]
        usable = await asyncio.gather(*(self._is_usable(*one) for one in tested))
        found = [one for one, answers in zip(tested, usable, strict=True) if answers]
        for zone in set(self.zones) - {zone for zone, _ in found}:
            logger.warning("router.dnsbl.unusable", extra={"zone": zone})
        return found

    async def _is_usable(self, zone: str, version: int) -> bool:
        listed = await self._is_listed(dnsbl.LISTED_TESTS[version], zone)
        return bool(listed) and await self._is_listed(dnsbl.UNLISTED_TESTS[version], zone) is False

    async def _is_listed(self, address: str, zone: str) -> bool | None:
        return dnsbl.is_listing(await self.look_up(dnsbl.query_name(address, zone), "A"))

    async def check(
        self, source: EgressSource, zones: Sequence[tuple[str, int]] = ()
    ) -> SourceFindings:
        """zones: the usable ones."""
        addresses = addresses_of(source)
        checked = [await self._check_address(one, source.ehlo or self.ehlo) for one in addresses]
        outcomes = [outcome for each in checked for outcome in each]
        return SourceFindings(
            tuple(one for one in outcomes if one),
            all(outcomes),
            await self._listings(addresses, zones),
        )

    async def _check_address(self, address: str, ehlo: str) -> list[Outcome | None]:
        pointer, kind = ip_address(address).reverse_pointer, "AAAA" if ":" in address else "A"
        outcomes = [
            check_ptr(address, ehlo, await self.look_up(pointer, "PTR")),
            check_forward(address, ehlo, await self.look_up(ehlo, kind)),
        ]
        if self.spf_domain:
            result = await self._spf(address)
            outcomes.append(check_spf(address, self.spf_domain, result))
        return outcomes

    async def _spf(self, address: str) -> SpfResult:
        evaluation = check_host(address, self.spf_domain)
        try:
            query = next(evaluation)
            while True:
                query = evaluation.send(await self.look_up(*query))
        except StopIteration as end:
            return SpfResult(end.value)

    async def _listings(
        self, addresses: Sequence[str], zones: Sequence[tuple[str, int]]
    ) -> dict[str, bool]:
        """A zone lists a source if it lists one of its addresses, and not if it lists none."""
        listings: dict[str, bool] = {}
        for zone in sorted({zone for zone, _ in zones}):
            queried = [one for one in addresses if (zone, ip_address(one).version) in zones]
            found = [await self._is_listed(one, zone) for one in queried]
            if any(found):
                listings[zone] = True
            elif found and None not in found:
                listings[zone] = False
        return listings
