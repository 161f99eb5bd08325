"""The brand of a tenant's account."""

from contracts.ingest.v1.directory_pb2 import Account, Tenant
from kernel.brand import Brand, Brands
from kernel.table import ReplicatedTable, TopicReplayer


class TenantBrands:
    """Replicates tenants and accounts only if there is more than one brand."""

    def __init__(self, brands: Brands, kafka: TopicReplayer) -> None:
        self._brands = brands
        self._tables: tuple[ReplicatedTable[Tenant], ReplicatedTable[Account]] | None = None
        if len(brands.ids) > 1:
            self._tables = ReplicatedTable(Tenant, kafka), ReplicatedTable(Account, kafka)

    async def of(self, tenant_id: str) -> Brand:
        """Waits a few seconds for the records of a new tenant."""
        if self._tables is None:
            return self._brands.default
        tenants, accounts = self._tables
        for table in self._tables:
            await table.replayed.wait()
        tenant = tenants.get(tenant_id) or (await tenants.wait_for([tenant_id])).get(tenant_id)
        if tenant is None:
            return self._brands.default
        account_id = tenant.account_id
        account = accounts.get(account_id) or (await accounts.wait_for([account_id])).get(
            account_id
        )
        return self._brands.named(account.brand if account is not None else "")
