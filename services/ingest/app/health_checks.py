"""Wires the health checks."""

from kernel.health import DependencyHealth
from kernel.host_challenge import HostChallenges
from kernel.service import Loop, create_loops
from kernel.status import StatusSource
from services.ingest.app.dependencies import Dependencies
from services.ingest.app.domains import create_authoritative_resolver
from services.ingest.clients.host_prober import HostProber
from services.ingest.loops.health_checks import HealthChecks, HealthCheckTargets
from services.ingest.loops.infrastructure_bounces import InfrastructureBounceCheck
from services.ingest.loops.signing_records import InstallationKeyCheck
from services.ingest.store.directory_lists import DirectoryLists

DUE_INTERVAL_S = 30.0
AHEAD = ("messages", "emails", "requests")  # tables whose days are created ahead


def create_health_checks(deps: Dependencies) -> HealthChecks:
    settings = deps.settings
    own = StatusSource(settings.secret_keys, deps.system_database, "ingest", AHEAD)
    records = InstallationKeyCheck(
        DirectoryLists(deps.system_database, deps.tenant_database),
        deps.domain_keys,
        create_authoritative_resolver(settings),
    )
    examined = HealthCheckTargets(
        own,
        deps.statuses,
        deps.clients,
        deps.brands,
        records,
        InfrastructureBounceCheck(deps.system_database, deps.clients.events),
        settings.bounce_mx,
        settings.probe_metrics_url,
    )
    return HealthChecks(
        deps.system_database,
        deps.lease,
        examined,
        probe=HostProber(HostChallenges(settings.secret_keys)),
        interval_s=settings.health_check_interval_s,
    )


def create_health_loops(deps: Dependencies) -> list[Loop]:
    checks = create_health_checks(deps)
    every_s = min(DUE_INTERVAL_S, deps.settings.health_check_interval_s)
    return create_loops([(every_s, checks.run_once)], DependencyHealth())
