"""Whether DNS publishes the keys that the installation answers for: those of the feedback domains
of pools, and those in its own zones, to which the aliases of customers' domains lead."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.ingest.v1.directory_pb2 import Domain
from contracts.router.v1.directory_pb2 import Pool
from kernel.resolver import AuthoritativeResolver
from mail.domain_check import RecordCheck, check_records
from mail.records import DnsRecord
from services.ingest.clients.domain_dns import look_up_records
from services.ingest.domain import health_checks as domain
from services.ingest.domain.health_checks import HealthFinding
from services.ingest.store.directory_lists import DirectoryLists, EntryOwner, PageBounds
from services.ingest.store.domain_keys import DomainKeyring

AT_ONCE = 5
NEWEST = PageBounds(20)  # of the domains of a zone, whose keys are the likeliest to be missing


@dataclass(frozen=True, slots=True)
class InstallationKeyCheck:
    lists: DirectoryLists
    keys: DomainKeyring
    resolver: AuthoritativeResolver

    async def check(self, pools: Iterable[Pool], zones: Iterable[str]) -> list[HealthFinding]:
        """zones: of brands. Raises Unavailable."""
        limit = asyncio.Semaphore(AT_ONCE)
        users = {one.feedback_domain_id: one.name for one in pools if one.feedback_domain_id}

        async def of_pool(domain_id: str) -> list[HealthFinding]:
            async with limit:
                return await self._check_domain(domain_id, pool=users[domain_id])

        async def of_zone(zone: str) -> list[HealthFinding]:
            async with limit:
                return await self._check_zone(zone)

        made = [*map(of_pool, sorted(users)), *map(of_zone, sorted(set(zones)))]
        return [one for some in await asyncio.gather(*made) for one in some]

    async def _check_domain(self, domain_id: str, *, pool: str) -> list[HealthFinding]:
        found = await self.lists.find(Domain, EntryOwner(), domain_id)
        if found is None:
            return [domain.find_no_domain(pool)]
        records = self.keys.signing_records(found)
        checks = await self._look_up(found.name, records)
        return list(map(domain.find_key, checks))

    async def _check_zone(self, zone: str) -> list[HealthFinding]:
        equal = {"dkim_zone": zone}
        newest, _ = await self.lists.page(Domain, EntryOwner(), NEWEST, equal=equal)
        records = [record for one in newest for record in self.keys.zone_records(one)]
        return domain.find_zone(zone, await self._look_up(zone, records)) if records else []

    async def _look_up(self, name: str, records: Sequence[DnsRecord]) -> Sequence[RecordCheck]:
        return check_records(records, await look_up_records(self.resolver, name, records))
