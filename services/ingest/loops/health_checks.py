"""Runs the health checks: hourly by the owner of the lease, sooner after a failure, and whenever an
operator asks."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from contracts.kernel.v1.status_service_pb2 import GetStatusRequest, GetStatusResponse
from contracts.router.v1 import policy_service_pb2 as pb
from kernel import clock
from kernel.brand import Brands
from kernel.database import Database
from kernel.lease import Lease
from kernel.status import StatusSource
from services.ingest.clients import ServiceClients, Statuses
from services.ingest.clients.canaries import read_canaries
from services.ingest.clients.host_prober import HostProber
from services.ingest.domain import health_checks as domain
from services.ingest.domain.health_checks import HealthFinding
from services.ingest.domain.problem import Problem
from services.ingest.loops.infrastructure_bounces import InfrastructureBounceCheck
from services.ingest.loops.signing_records import InstallationKeyCheck
from services.ingest.store import health_checks as store
from services.ingest.store.health_checks import StoredFinding

DEADLINE_S = 5.0
HOSTS_AT_ONCE = 10
PAGE, SOURCES_MAX = 100, 10_000
RETRY_S = 300.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HealthCheckTargets:
    """What is checked. own: the status of this process. statuses: of the other services, by name.
    bounce_mx: where servers return bounces to; empty: nowhere. probe_metrics_url: of `obm probe`;
    empty: none runs."""

    own: StatusSource
    statuses: Statuses
    clients: ServiceClients
    brands: Brands
    records: InstallationKeyCheck
    bounces: InfrastructureBounceCheck
    bounce_mx: str
    probe_metrics_url: str


class HealthChecks:
    def __init__(
        self,
        database: Database,
        lease: Lease,
        examined: HealthCheckTargets,
        *,
        probe: HostProber,
        interval_s: float,
    ) -> None:
        self._database = database
        self._lease = lease
        self._examined = examined
        self._policies = examined.clients.policies
        self._probe = probe
        self._interval_s = interval_s

    async def run_once(self) -> None:
        """The action of a loop. It does nothing without the lease."""
        if self._lease.fence is None or not await self._is_due():
            return
        for one in await self.run():
            if one.finding.status is domain.HealthStatus.FAILED and one.since == one.checked_at:
                check = one.finding
                extra = {"check": check.check, "subject": check.subject, "detail": check.detail}
                logger.warning("health_check.failed", extra=extra)

    async def _is_due(self) -> bool:
        retry_s = min(RETRY_S, self._interval_s)
        async with self._database.transaction() as tx:
            return await store.is_due(tx, retry_s=retry_s, interval_s=self._interval_s)

    async def run(self) -> list[StoredFinding]:
        """Make all checks, and return what is known then. Raises Unavailable."""
        made: list[str] = []
        findings: list[HealthFinding] = []
        async for names, some in self._make():
            made += names
            findings += some
        async with self._database.transaction() as tx:
            await store.save(tx, findings, made)
            return await store.load(tx)

    async def mark_bounces_read(self) -> list[StoredFinding]:
        """Return what is known then. Raises Unavailable."""
        async with self._database.transaction() as tx:
            findings = await self._examined.bounces.mark_read(tx)
            await store.save(tx, findings, [domain.BOUNCES])
            return await store.load(tx)

    async def load(self) -> list[StoredFinding]:
        """What was found last. Raises Unavailable."""
        async with self._database.transaction() as tx:
            return await store.load(tx)

    async def _make(self) -> AsyncIterator[tuple[Iterable[str], Iterable[HealthFinding]]]:
        """The names of some checks, and all that they find."""
        own, others = await self._examined.own.read(), await self._read_statuses()
        yield [domain.SERVICE], domain.find_services(own, others)
        for check in (self._check_router, self._check_bounces):
            try:
                yield await check()
            except Problem as problem:  # what was found before stays
                logger.info("health_checks.service_away", extra={"detail": problem.detail})
        yield await self._check_hosts()
        if url := self._examined.probe_metrics_url:
            yield [domain.CANARY], await self._check_canaries(url)

    @staticmethod
    async def _check_canaries(url: str) -> list[HealthFinding]:
        try:
            canaries = await read_canaries(url)
        except (OSError, ValueError) as error:
            return [domain.find_no_probe(str(error))]
        return domain.find_canaries(canaries, now_s=clock.now().timestamp())

    async def _read_statuses(self) -> dict[str, GetStatusResponse | None]:
        statuses = self._examined.statuses

        async def read(name: str) -> GetStatusResponse | None:
            client, request = statuses[name], GetStatusRequest()
            try:
                return await client.call(client.stub.GetStatus, request, deadline_s=DEADLINE_S)
            except Problem:
                return None

        found = await asyncio.gather(*map(read, statuses))
        return dict(zip(statuses, found, strict=True))

    async def _check_router(self) -> tuple[Iterable[str], list[HealthFinding]]:
        """Raises Problem if the router does not respond."""
        stub = self._policies.stub
        request = pb.ListPoolsRequest()
        pools = (await self._policies.call(stub.ListPools, request, deadline_s=DEADLINE_S)).pools
        every = pb.ListCellsRequest()
        cells = (await self._policies.call(stub.ListCells, every, deadline_s=DEADLINE_S)).cells
        zones = [one.dkim_zone for one in self._examined.brands if one.dkim_zone]
        sources = [one async for one in self._sources()]
        async with self._database.transaction() as tx:
            astray = await store.load_astray(tx, {one.pool_id for one in pools})
        made = [*domain.OF_SOURCES, domain.DNSBL, domain.POOL, domain.TENANTS]
        made += [domain.CELL, domain.DKIM]
        return made, [
            *domain.find_sources(sources),
            *domain.find_pools(pools, sources),
            domain.find_tenants(astray),
            *domain.find_cells(cells),
            *await self._examined.records.check(pools, zones),
        ]

    async def _check_bounces(self) -> tuple[Iterable[str], list[HealthFinding]]:
        """Raises Problem if events does not respond."""
        return [domain.BOUNCES], await self._examined.bounces.check()

    async def _sources(self) -> AsyncIterator[pb.Source]:
        request = pb.ListSourcesRequest(limit=PAGE)
        for _ in range(SOURCES_MAX // PAGE):
            method = self._policies.stub.ListSources
            page = await self._policies.call(method, request, deadline_s=DEADLINE_S)
            for one in page.sources:
                yield one
            if not page.has_more:
                return
            request.after = page.sources[-1].source.egress_id

    async def _check_hosts(self) -> tuple[Iterable[str], list[HealthFinding]]:
        limit = asyncio.Semaphore(HOSTS_AT_ONCE)

        async def look(host: str) -> HealthFinding:
            async with limit:
                return domain.find_host(await self._probe.look(host))

        brands = list(self._examined.brands)
        hosts = {host for one in brands for host in one.hosts if host != one.smtp_host}
        findings = await asyncio.gather(*map(look, sorted(hosts)))
        names = {one.bounce_mx for one in brands if one.bounce_mx}
        if own := self._examined.bounce_mx:
            names.add(own)
        for name in sorted(names):
            findings.append(domain.find_bounce_mx(name, await self._probe.addresses_of(name)))
        return [domain.HOST, domain.BOUNCE_MX], findings
