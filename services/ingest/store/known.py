"""The directory in memory, with fall-through: a key works the moment it exists."""

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, Tenant
from kernel import clock
from kernel.table import Followed, Table
from services.ingest.store.directory import DirectoryStore

ABSENT_S = 5.0
ABSENT_MAX = 100_000


def _of(domain: Domain) -> tuple[str, str]:
    return (domain.account_id if domain.shared else domain.tenant_id, domain.name)


class Directory:
    """Lookups cost no query, but for what has not come back from the broker yet."""

    def __init__(self, kafka: Followed, store: DirectoryStore) -> None:
        self._store = store
        self._absent: dict[bytes, float] = {}
        self._accounts = Table(Account, kafka)
        self._tenants = Table(Tenant, kafka)
        self._keys = Table(ApiKey, kafka, index=lambda key: key.secret_sha256)
        self._domains = Table(Domain, kafka, index=_of)

    def key(self, secret_sha256: bytes) -> ApiKey | None:
        return self._keys.by(secret_sha256)

    async def fetch_key(self, secret_sha256: bytes) -> ApiKey | None:
        """Past the memory. Raises Unavailable.

        That there is none is remembered for a moment: who guesses does not reach the database.
        """
        now_s = clock.monotonic_s()
        if self._absent.get(secret_sha256, 0.0) > now_s:
            return None
        if key := await self._store.key(secret_sha256):
            self._keys.put(key)
            return key
        if len(self._absent) >= ABSENT_MAX:
            self._absent.clear()
        self._absent[secret_sha256] = now_s + ABSENT_S
        return None

    async def tenant(self, tenant_id: str) -> Tenant | None:
        if known := self._tenants.get(tenant_id):
            return known
        if found := await self._store.tenant(tenant_id):
            self._tenants.put(found)
        return found

    async def domain(self, tenant_id: str, account_id: str, *, name: str) -> Domain | None:
        """The tenant's domain of this name, or one that is shared in its account."""
        for owner in (tenant_id, account_id):
            known = self._domains.by((owner, name))
            if known and _of(known) == (owner, name):
                return known
        if found := await self._store.domain(tenant_id, account_id, name=name):
            self._domains.put(found)
        return found
