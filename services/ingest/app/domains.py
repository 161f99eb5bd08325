"""Wires the checks of domains."""

from ipaddress import ip_address

from kernel.health import DependencyHealth
from kernel.resolver import AuthoritativeResolver, system_resolver
from kernel.service import Loop, create_loops
from mail.reachable import may_connect, parse_networks
from services.ingest.api.administration.base import Directory
from services.ingest.api.administration.plans import Plans
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.domains import Domains
from services.ingest.api.emails import Emails
from services.ingest.app.dependencies import Dependencies
from services.ingest.domain.tracking_host import LinkHosts
from services.ingest.loops.domain_checks import DomainChecks
from services.ingest.store.directory import DirectoryStore
from services.ingest.store.directory_lists import DirectoryLists

LOOKUP_TIMEOUT_S = 10.0


def create_domain_loops(deps: Dependencies, directory: DirectoryStore) -> list[Loop]:
    settings = deps.settings
    allowed = parse_networks(settings.dns_allowed_networks)
    checks = DomainChecks(
        deps.domain_store(directory),
        deps.domain_keys,
        AuthoritativeResolver(
            system_resolver(
                settings.nameservers, timeout_s=LOOKUP_TIMEOUT_S, setting="INGEST_NAMESERVERS"
            ),
            is_allowed=lambda address: may_connect(ip_address(address), allowed),
        ),
        deps.lease,
        settings.domain_checks_max,
    )
    return create_loops([(settings.domain_check_interval_s, checks.run_once)], DependencyHealth())


def create_domain_service(
    deps: Dependencies,
    emails: Emails,
    directory: DirectoryStore,
    *,
    brands: BrandResolver,
    hosts: LinkHosts,
) -> Domains:
    return Domains(
        directory,
        create_directory(deps, directory),
        deps.domain_store(directory),
        deps.domain_keys,
        emails,
        deps.settings.tenant_domains_max,
        brands,
        hosts,
        Plans(deps.prices),
    )


def create_directory(deps: Dependencies, directory: DirectoryStore) -> Directory:
    return Directory(directory, DirectoryLists(deps.system_database, deps.tenant_database))
