"""Wiring of the self-checks of egress sources, and of the checks of their egress hosts."""

from functools import partial

from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.service import Loop, run_every
from services.router.clients.dns import Resolver
from services.router.clients.source_dns import SourceDns
from services.router.loops.egress_hosts import EgressHostLoop, HostChecker
from services.router.loops.scheduler import Scheduler
from services.router.loops.source_checks import SourceCheckLoop
from services.router.settings import Settings

INTERVAL_S = 10.0  # between searches for sources to check


def source_check_loops(
    settings: Settings, lease: Lease, resolver: Resolver, *, ehlo: str, health: DependencyHealth
) -> list[Loop]:
    if settings.source_checks == "off":
        return []
    source_dns = SourceDns(resolver, ehlo, settings.spf_domain, settings.dnsbl_zones)
    interval_s = settings.source_check_interval_s
    checks = SourceCheckLoop(lease, source_dns, interval_s=interval_s)
    return [partial(run_every, min(interval_s, INTERVAL_S), checks.run_once, health)]


def egress_host_loop(
    settings: Settings,
    scheduler: Scheduler,
    checker: HostChecker,
    *,
    lease: Lease,
    health: DependencyHealth,
) -> Loop:
    checks = EgressHostLoop(lease, checker, known=scheduler.host_problems)
    return partial(run_every, settings.egress_host_check_interval_s, checks.run_once, health)
