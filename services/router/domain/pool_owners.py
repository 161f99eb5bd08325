"""Who alone sends through an egress pool: the events of its sources are theirs."""

from typing import NamedTuple

from contracts.ingest.v1.directory_pb2 import Tenant
from services.router.domain.policies import DEFAULT_POOL


class PoolOwner(NamedTuple):
    """tenant_id: of the only tenant; empty if the account has several in the pool."""

    account_id: str = ""
    tenant_id: str = ""


class PoolOwners:
    """By the tenants of each pool. All that have chosen no pool send through the default one, so
    nobody owns that."""

    def __init__(self) -> None:
        self._pools: dict[str, str] = {}
        self._tenants: dict[str, dict[str, str]] = {}

    def put(self, tenant: Tenant) -> None:
        """A new version of a tenant."""
        if before := self._pools.pop(tenant.tenant_id, ""):
            del self._tenants[before][tenant.tenant_id]
        if not tenant.deleted and tenant.pool_id not in {"", DEFAULT_POOL}:
            self._pools[tenant.tenant_id] = tenant.pool_id
            self._tenants.setdefault(tenant.pool_id, {})[tenant.tenant_id] = tenant.account_id

    def owner_of(self, pool_id: str) -> PoolOwner:
        tenants = self._tenants.get(pool_id, {})
        account_id = next(iter(tenants.values()), "")
        if any(other != account_id for other in tenants.values()):
            return PoolOwner()
        return PoolOwner(account_id, next(iter(tenants)) if len(tenants) == 1 else "")
