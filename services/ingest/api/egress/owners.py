"""Whose a limit scope, an egress source or a pool is, for the audit log: an account finds there
what operators did to its mail."""

from collections.abc import Mapping
from typing import Any

from contracts.ingest.v1.directory_pb2 import ApiKey, Mailbox, Tenant
from kernel.ids import canonical_uuid
from services.ingest.api.administration.directory import DirectoryResource
from services.ingest.api.egress.router_client import EgressRouterClient
from services.ingest.store.directory_lists import EntryOwner

NOBODY = EntryOwner()
OF_SOURCES = ("egress_site", "warmup")
OF_TENANTS: Mapping[str, Any] = {
    "tenant": Tenant,
    "tenant_site": Tenant,
    "api_key": ApiKey,
    "mailbox": Mailbox,
}


class OwnerLookup:
    """Of what several accounts share there is no owner."""

    def __init__(self, directory: DirectoryResource, router: EgressRouterClient) -> None:
        self._directory = directory
        self._router = router

    async def of_scope(self, scope: str) -> EntryOwner:
        """scope: such as tenant_site/<id>/<site>."""
        kind, _, rest = scope.partition("/")
        subject_id = rest.partition("/")[0]
        if kind in OF_TENANTS:
            return await self._directory.owner_of(OF_TENANTS[kind], subject_id)
        if kind == "pool":
            return await self.of_pools(subject_id)
        if kind in OF_SOURCES:
            return await self._of_source(subject_id)
        return NOBODY

    async def _of_source(self, egress_id: str) -> EntryOwner:
        try:
            found = await self._router.source(canonical_uuid(egress_id))
        except ValueError:
            return NOBODY
        return await self.of_pools(found.source.pool_id) if found is not None else NOBODY

    async def of_pools(self, *pool_ids: str) -> EntryOwner:
        """Of the first one that has an owner."""
        for pool_id in pool_ids:
            owner = await self._directory.owner_of_pool(pool_id)
            if owner != NOBODY:
                return owner
        return NOBODY
