"""The account of a tenant, its brand and its address."""

import asyncio

from contracts.ingest.v1.directory_pb2 import Account, Tenant
from contracts.ingest.v1.directory_pb2 import Brand as BrandRecord
from kernel.brand import Brand, Brands, brand_of, is_record_id
from kernel.table import ReplicatedTable, TopicReplayer


class TenantBrands:
    """Replicates brands, accounts and tenants. While there is one brand only, it is that of all, of
    unknown tenants too."""

    def __init__(self, brands: Brands, kafka: TopicReplayer) -> None:
        self.brands = brands
        self._records = ReplicatedTable(BrandRecord, kafka)
        self._records.on_change(self._put)
        self._accounts = ReplicatedTable(Account, kafka)
        self._tenants = ReplicatedTable(Tenant, kafka)

    async def of(self, tenant_id: str) -> Brand:
        """Waits a few seconds for new records."""
        await self._records.replayed.wait()
        if self.brands.is_one:
            return self.brands.default
        await self._tenants.replayed.wait()
        tenant = (await self._tenants.wait_for([tenant_id])).get(tenant_id)
        return self.brands.default if tenant is None else await self.of_account(tenant.account_id)

    async def of_account(self, account_id: str) -> Brand:
        """Waits a few seconds for new records."""
        await self._records.replayed.wait()
        if self.brands.is_one:
            return self.brands.default
        await self._accounts.replayed.wait()
        account = (await self._accounts.wait_for([account_id])).get(account_id)
        brand_id = account.brand if account is not None else ""
        if is_record_id(brand_id):
            await self._records.wait_for([brand_id])
        return self.brands.named(brand_id)

    async def billing_email_of(self, owner_id: str, *, account_wide: bool) -> str:
        """Of the account, or of the tenant's account; empty if there is none. Waits a few seconds
        for new records."""
        await asyncio.gather(self._tenants.replayed.wait(), self._accounts.replayed.wait())
        account_id = owner_id
        if not account_wide:
            tenant = (await self._tenants.wait_for([owner_id])).get(owner_id)
            account_id = tenant.account_id if tenant is not None else ""
        account = (await self._accounts.wait_for([account_id])).get(account_id)
        return account.billing_email if account is not None and not account.deleted else ""

    def account_of(self, tenant_id: str) -> str:
        """As far as the directory has arrived; empty if the tenant is unknown or deleted."""
        tenant = self._tenants.get(tenant_id)
        return tenant.account_id if tenant is not None else ""

    def are_known(self) -> bool:
        """Whether the records have arrived."""
        return self._records.replayed.is_set()

    def _put(self, record: BrandRecord) -> None:
        self.brands.put(record.brand_id, None if record.deleted else brand_of(record))
