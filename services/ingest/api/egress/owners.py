"""Whose a limit scope, an egress source or a pool is, for the audit log: an account finds there
what operators did to its mail."""

from collections.abc import Mapping
from typing import Any

from contracts.ingest.v1.directory_pb2 import ApiKey, Mailbox, Tenant
from services.ingest.api.administration.base import Directory
from services.ingest.api.egress.router_client import EgressRouterClient
from services.ingest.store.directory_lists import Owner

NOBODY = Owner()
OF_SOURCES = ("egress_site", "warmup")
OF_TENANTS: Mapping[str, Any] = {
    "tenant": Tenant,
    "tenant_site": Tenant,
    "api_key": ApiKey,
    "mailbox": Mailbox,
}


class Owners:
    """Of what several accounts share there is no owner."""

    def __init__(self, directory: Directory, router: EgressRouterClient) -> None:
        self._directory = directory
        self._router = router

    async def of_scope(self, scope: str) -> Owner:
        """scope: such as tenant_site/<id>/<site>."""
        kind, _, rest = scope.partition("/")
        subject_id = rest.partition("/")[0]
        if kind in OF_TENANTS:
            return await self._directory.owner_of(OF_TENANTS[kind], subject_id)
        if kind == "pool":
            return await self.of_pools(subject_id)
        if kind in OF_SOURCES:
            found = (one.source for one in await self._router.sources())
            return await self.of_pools(*(o.pool_id for o in found if o.egress_id == subject_id))
        return NOBODY

    async def of_pools(self, *pool_ids: str) -> Owner:
        """Of the first one that has an owner."""
        for pool_id in pool_ids:
            owner = await self._directory.owner_of_pool(pool_id)
            if owner != NOBODY:
                return owner
        return NOBODY
