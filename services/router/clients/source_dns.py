"""The DNS lookups of self-checks: what receiving servers look up about an egress source."""

from dataclasses import dataclass
from ipaddress import ip_address

from kernel.resolver import look_up
from mail.spf import SpfResult, check_host
from services.router.clients.dns import Resolver
from services.router.domain.egress import EgressSource
from services.router.domain.source_checks import (
    Names,
    SelfCheckFinding,
    addresses_of,
    check_forward,
    check_ptr,
    check_spf,
)


@dataclass(frozen=True, slots=True)
class SourceFindings:
    """is_complete: every check was answered."""

    findings: tuple[SelfCheckFinding, ...] = ()
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class SourceDnsChecker:
    """ehlo: of sources without a name. spf_domain: empty for no check."""

    resolver: Resolver
    ehlo: str
    spf_domain: str = ""

    async def look_up(self, name: str, kind: str) -> Names:
        """Empty if there are no such records, None if the lookup failed."""
        found = await look_up(self.resolver, name, kind)
        return None if found is None else found.values

    async def check(self, source: EgressSource) -> SourceFindings:
        addresses = addresses_of(source)
        checked = [await self._check_address(one, source.ehlo or self.ehlo) for one in addresses]
        findings = [found for each in checked for found in each]
        return SourceFindings(tuple(one for one in findings if one), all(findings))

    async def _check_address(self, address: str, ehlo: str) -> list[SelfCheckFinding | None]:
        pointer, kind = ip_address(address).reverse_pointer, "AAAA" if ":" in address else "A"
        findings = [
            check_ptr(address, ehlo, await self.look_up(pointer, "PTR")),
            check_forward(address, ehlo, await self.look_up(ehlo, kind)),
        ]
        if self.spf_domain:
            result = await self._spf(address)
            findings.append(check_spf(address, self.spf_domain, result))
        return findings

    async def _spf(self, address: str) -> SpfResult:
        evaluation = check_host(address, self.spf_domain)
        try:
            query = next(evaluation)
            while True:
                query = evaluation.send(await self.look_up(*query))
        except StopIteration as end:
            return SpfResult(end.value)
