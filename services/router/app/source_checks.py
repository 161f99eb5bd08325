"""Wiring of the self-checks of egress sources."""

from functools import partial

from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.service import Loop, run_every
from services.router.clients.dns import Resolver
from services.router.clients.source_dns import SourceDns
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
