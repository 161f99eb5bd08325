"""Wires the files of suppressions."""

from kernel.health import DependencyHealth
from kernel.service import Loop, create_loops
from services.ingest.api.access import AccessControl
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.suppression_files import SuppressionFileResource
from services.ingest.app.dependencies import Dependencies
from services.ingest.loops.suppression_imports import SuppressionImporter
from services.ingest.store.directory_cache import DirectoryCache
from services.ingest.store.directory_lists import DirectoryLists
from services.ingest.store.suppression_imports import ImportQueue, SuppressionImportStore


def create_suppression_files(deps: Dependencies, access: AccessControl) -> SuppressionFileResource:
    lists = DirectoryLists(deps.system_database, deps.tenant_database)
    store = SuppressionImportStore(deps.tenant_database, lists)
    audit_log = AuditLogResource(lists, deps.system_database)
    return SuppressionFileResource(
        deps.clients, store, audit_log, secrets=deps.secrets, access=access
    )


def create_import_loops(deps: Dependencies, directory: DirectoryCache) -> list[Loop]:
    importer = SuppressionImporter(
        ImportQueue(deps.system_database, deps.lease),
        deps.clients,
        deps.secrets,
        deps.lease,
        tenant_of=directory.tenant,
        account_of=directory.account,
    )
    interval_s = deps.settings.suppression_import_interval_s
    return create_loops([(interval_s, importer.run_once)], DependencyHealth())
