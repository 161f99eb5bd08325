"""Wiring of the checks of egress sources: in DNS, in block lists, and of their egress hosts."""

from functools import partial

from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.service import Loop, run_every
from mail.dnsbl import EntryKind
from mail.dnsbl_health import ListHealth
from services.router.app.rules import read_blocklists
from services.router.clients.blocklists import BlocklistClient
from services.router.clients.dns import Resolver
from services.router.clients.source_dns import SourceDnsChecker
from services.router.loops.egress_hosts import EgressHostLoop, HostChecker
from services.router.loops.listing_checks import ListingCheckLoop
from services.router.loops.scheduler import Scheduler
from services.router.loops.source_checks import SourceCheckLoop
from services.router.settings import Settings

INTERVAL_S = 10.0  # between searches for sources to check
ADDRESSES = {EntryKind.IPV4, EntryKind.IPV6}


def source_check_loops(
    settings: Settings, lease: Lease, resolver: Resolver, *, ehlo: str, health: DependencyHealth
) -> list[Loop]:
    """Of the checks in DNS, and of those in block lists."""
    listing_checks = listing_check_loops(settings, lease, resolver, health=health)
    if settings.source_checks == "off":
        return listing_checks
    source_dns = SourceDnsChecker(resolver, ehlo, settings.spf_domain)
    interval_s = settings.source_check_interval_s
    checks = SourceCheckLoop(lease, source_dns, interval_s=interval_s)
    dns_checks = partial(run_every, min(interval_s, INTERVAL_S), checks.run_once, health)
    return [dns_checks, *listing_checks]


def listing_check_loops(
    settings: Settings, lease: Lease, resolver: Resolver, *, health: DependencyHealth
) -> list[Loop]:
    """None without a list of addresses."""
    of_addresses = [one for one in read_blocklists(settings) if one.kinds & ADDRESSES]
    if not of_addresses:
        return []
    interval_s = settings.dnsbl_interval_s
    tested = ListHealth(of_addresses, interval_s=settings.dnsbl_test_interval_s)
    checks = ListingCheckLoop(lease, BlocklistClient(resolver, tested), interval_s=interval_s)
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
