"""Wires the checks of domains."""

from ipaddress import ip_address
from pathlib import Path

from kernel.errors import ConfigError
from kernel.health import DependencyHealth
from kernel.resolver import AuthoritativeResolver, system_resolver
from kernel.service import Loop, create_loops
from mail.blocklists import parse_blocklists, select, shipped
from mail.dnsbl import Blocklist, EntryKind
from mail.dnsbl_health import ListHealth
from mail.listed_name import suffixes
from mail.reachable import may_connect, parse_networks
from services.ingest.api.administration.directory import DirectoryResource
from services.ingest.api.administration.plans import PlanChecks
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.domains import DomainResource
from services.ingest.api.emails import EmailResource
from services.ingest.app.dependencies import Dependencies
from services.ingest.clients.blocklists import BlocklistClient
from services.ingest.domain.tracking_host import LinkHosts
from services.ingest.loops.domain_checks import DomainChecks
from services.ingest.loops.domain_listings import DomainListingChecks
from services.ingest.settings import Settings
from services.ingest.store.directory import DirectoryStore
from services.ingest.store.directory_lists import DirectoryLists

LOOKUP_TIMEOUT_S = 10.0


def create_domain_loops(deps: Dependencies, directory: DirectoryStore) -> list[Loop]:
    settings = deps.settings
    checks = DomainChecks(
        deps.domain_store(directory),
        deps.domain_keys,
        create_authoritative_resolver(settings),
        deps.lease,
        settings.domain_checks_max,
    )
    return [
        *create_loops([(settings.domain_check_interval_s, checks.run_once)], DependencyHealth()),
        *create_listing_loops(deps, directory),
    ]


def create_authoritative_resolver(settings: Settings) -> AuthoritativeResolver:
    """Raises ConfigError."""
    allowed = parse_networks(settings.dns_allowed_networks)
    return AuthoritativeResolver(
        system_resolver(
            settings.nameservers, timeout_s=LOOKUP_TIMEOUT_S, setting="INGEST_NAMESERVERS"
        ),
        is_allowed=lambda address: may_connect(ip_address(address), allowed),
    )


def create_listing_loops(deps: Dependencies, directory: DirectoryStore) -> list[Loop]:
    """None without a list of domains. Raises ConfigError."""
    settings = deps.settings
    lists = [one for one in read_blocklists(settings) if EntryKind.DOMAIN in one.kinds]
    if not lists:
        return []
    suffixes()  # before there are requests
    resolver = system_resolver(
        settings.nameservers, timeout_s=LOOKUP_TIMEOUT_S, setting="INGEST_NAMESERVERS"
    )
    checks = DomainListingChecks(
        deps.domain_store(directory),
        BlocklistClient(resolver, ListHealth(lists)),
        deps.lease,
        [one for one in (deps.domain_keys.hosts.bounce_mx,) if one],
    )
    return create_loops([(settings.domain_listing_interval_s, checks.run_once)], DependencyHealth())


def read_blocklists(settings: Settings) -> list[Blocklist]:
    """Those to query. Raises ConfigError."""
    try:
        own = Path(settings.blocklists_file).read_text("utf-8") if settings.blocklists_file else ""
        return select(
            parse_blocklists(shipped(), own),
            names=settings.blocklists,
            keys={name: key.get_secret_value() for name, key in settings.blocklist_keys.items()},
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"OBM_BLOCKLISTS, …_FILE and OBM_BLOCKLIST_KEYS: {error}") from error


def create_domain_service(
    deps: Dependencies,
    emails: EmailResource,
    directory: DirectoryStore,
    *,
    brands: BrandResolver,
    hosts: LinkHosts,
) -> DomainResource:
    return DomainResource(
        directory,
        create_directory(deps, directory),
        deps.domain_store(directory),
        deps.domain_keys,
        emails,
        deps.settings.tenant_domains_max,
        brands,
        hosts,
        PlanChecks(deps.prices),
    )


def create_directory(deps: Dependencies, directory: DirectoryStore) -> DirectoryResource:
    return DirectoryResource(directory, DirectoryLists(deps.system_database, deps.tenant_database))
