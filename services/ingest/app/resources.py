"""Wires the resources that ingest itself stores."""

from kernel.host_challenge import SMTP, HostChallenges
from kernel.service import Loop
from services.ingest.api.access import AccessControl
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.emails import EmailResource
from services.ingest.api.health_checks import HealthResource
from services.ingest.api.recipients import ErasureResource
from services.ingest.api.request_log import RequestLogResource
from services.ingest.api.resources import StoredResources
from services.ingest.app.dependencies import Dependencies
from services.ingest.app.domains import create_domain_service
from services.ingest.app.erasures import create_erasure_loops, create_erasure_store
from services.ingest.app.health_checks import create_health_checks, create_health_loops
from services.ingest.app.suppressions import create_import_loops, create_suppression_files
from services.ingest.domain.tracking_host import LinkHosts
from services.ingest.store.directory import DirectoryStore
from services.ingest.store.directory_cache import DirectoryCache


def create_own_resources(
    deps: Dependencies,
    emails: EmailResource,
    directory: DirectoryStore,
    *,
    access: AccessControl,
    brands: BrandResolver,
    hosts: LinkHosts,
) -> StoredResources:
    return StoredResources(
        create_domain_service(deps, emails, directory, brands=brands, hosts=hosts),
        create_suppression_files(deps, access),
        RequestLogResource(deps.request_list),
        ErasureResource(create_erasure_store(deps)),
        HealthResource(create_health_checks(deps), HostChallenges(deps.settings.secret_keys, SMTP)),
    )


def create_own_loops(deps: Dependencies, directory: DirectoryCache) -> list[Loop]:
    """Those that do what was asked of these resources."""
    return [
        *create_import_loops(deps, directory),
        *create_erasure_loops(deps, create_erasure_store(deps)),
        *create_health_loops(deps),
    ]
