"""Wires the erasure of recipients."""

from kernel.health import DependencyHealth
from kernel.service import Loop, create_loops
from services.ingest.app.dependencies import Dependencies
from services.ingest.loops.recipient_erasure import RecipientErasure
from services.ingest.store.directory_lists import DirectoryLists
from services.ingest.store.erasures import ErasureStore


def create_erasure_store(deps: Dependencies) -> ErasureStore:
    return ErasureStore(
        deps.system_database,
        DirectoryLists(deps.system_database, deps.tenant_database),
        lease=deps.lease,
        secrets=deps.secrets,
        return_path_key=deps.return_path_key,
    )


def create_erasure_loops(deps: Dependencies, store: ErasureStore) -> list[Loop]:
    erasure = RecipientErasure(
        store,
        deps.clients,
        deps.content,
        deps.lease,
        settle_s=deps.settings.erasure_settle_s,
    )
    return create_loops([(deps.settings.erasure_interval_s, erasure.run_once)], DependencyHealth())
