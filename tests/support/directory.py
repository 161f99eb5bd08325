"""Writes accounts, tenants, keys and domains at the database, also while no engine runs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from cli.directory import user
from contracts.ingest.v1.directory_pb2 import Account, ApiKey, ApiKeyKind, Domain, Tenant
from kernel import auth, crypto
from kernel.brand import Brand, read_brands
from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.errors import ConfigError
from kernel.ids import uuid7_text
from kernel.outbox import Outbox
from mail import records
from services.ingest.api.administration.api_keys import new_key
from services.ingest.domain.domain_name import sending_domain
from services.ingest.domain.verification import NOT_STARTED, VERIFIED
from services.ingest.settings import Settings
from services.ingest.store.directory import DirectoryStore
from services.ingest.store.domain_keys import DomainKeyring, InstallationHosts
from services.ingest.store.domains import DomainStore

T = TypeVar("T")
N = TypeVar("N", Account, Tenant, Domain, ApiKey)
NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class CreatedAccount:
    """An account with one tenant, one domain and one key, ready to send."""

    account_id: str
    tenant_id: str
    domain_id: str
    api_key: str


@asynccontextmanager
async def open_directory(settings: Settings) -> AsyncIterator["DirectoryAdmin"]:
    """The directory with the database and the secrets of an installation."""
    database = Database(settings.system_database_url, connections_max=1, name="obm")
    try:
        brand = read_brands(settings.brands_file).default
        yield DirectoryAdmin(database, SecretKeyring(settings.secret_keys), brand)
    finally:
        await database.close()


class DirectoryAdmin:
    """Writes the directory. The services apply the changes within a second."""

    def __init__(self, database: Database, secrets: SecretKeyring, brand: Brand) -> None:
        self._brand = brand
        self.store = DirectoryStore(database, actor=user())
        outbox = Outbox(database, "ingest", leave_to_sweep, sweep_after_s=0.0)
        self.domains = DomainStore(database, self.store, outbox)
        self._secrets = secrets
        self._domain_keys = DomainKeyring(secrets, InstallationHosts("", ""), report_key=bytes(16))

    async def add_account(self, name: str) -> Account:
        account = Account(account_id=uuid7_text(), name=name)
        await self.store.save(account)
        return account

    async def add_tenant(self, account: str, name: str, *, chosen: Tenant | None = None) -> Tenant:
        """account: its id or name. chosen: limits, thresholds, pool, policy."""
        owner = await self._find_one(Account, account)
        tenant = Tenant(
            tenant_id=uuid7_text(),
            account_id=owner.account_id,
            name=name,
            content_key=self._secrets.encrypt(crypto.new_content_key()),
        )
        tenant.MergeFrom(chosen or Tenant())
        await self.store.save(tenant)
        return tenant

    async def change(self, kind: type[N], identifier: str, fields: Mapping[str, Any]) -> N:
        """identifier: id or name. fields: new values by name."""
        changed = await self._find_one(kind, identifier)
        for name, value in fields.items():
            setattr(changed, name, value)
        await self.store.save(changed)
        return changed

    async def add_key(
        self,
        tenant: str,
        *,
        test: bool,
        name: str = "",
        scopes: Sequence[str] = (auth.FULL_ACCESS,),
        domain: str = "",
        cidrs: Sequence[str] = (),
        expires_at: Timestamp | None = None,
    ) -> tuple[str, ApiKey]:
        """Returns the secret key, which is not stored, and its record. tenant, domain: id or
        name."""
        owner = await self._find_one(Tenant, tenant)
        domain_id = await self._domain_id(owner, domain) if domain else ""
        secret, key = new_key(
            test=test,
            brand=self._brand.slug,
            tenant_id=owner.tenant_id,
            account_id=owner.account_id,
            name=name,
            scopes=scopes,
            domain_id=domain_id,
            cidrs=cidrs,
            expires_at=expires_at,
        )
        await self.store.save(key)
        return secret, key

    async def add_operator_key(
        self, *, name: str, cidrs: Sequence[str] = (), expires_at: Timestamp | None = None
    ) -> tuple[str, ApiKey]:
        """Returns the secret key, which is not stored, and its record."""
        secret, key = new_key(
            test=False, brand=self._brand.slug, name=name, kind=ApiKeyKind.API_KEY_KIND_OPERATOR,
            scopes=[auth.FULL_ACCESS], cidrs=cidrs, expires_at=expires_at,
        )  # fmt: skip
        await self.store.save(key)
        return secret, key

    async def add_domain(
        self, name: str, *, tenant: str, shared: bool = False, verified: bool = False
    ) -> Domain:
        """Add a domain with new DKIM keys: RSA-2048 and Ed25519 (RFC 8463). verified: the operator
        vouches for it, so that live mail can be sent at once. Raises ConfigError."""
        owner = await self._find_one(Tenant, tenant)
        domain = await self._domain_keys.new_domain(
            sending_domain(name), tenant_id=owner.tenant_id, account_id=owner.account_id
        )
        domain.shared, domain.vouched = shared, verified
        domain.status = VERIFIED if verified else NOT_STARTED
        await self.domains.add(domain, count_max=1_000_000)
        return domain

    async def delete_key(self, key_id: str) -> None:
        """The record stays, marked as deleted, so that all caches are updated."""
        for key in await self.store.list_all(ApiKey):
            if key.key_id == key_id:
                key.deleted = True
                await self.store.save(key)
                return
        raise ConfigError(f"There is no key {key_id!r}. See `obm key list`.")

    async def remove(self, kind: type[N], identifier: str) -> None:
        """The record stays, marked as deleted."""
        removed = await self._find_one(kind, identifier)
        removed.deleted = True
        await self.store.save(removed)

    async def add_complete_account(self, domain: str, *, test: bool) -> CreatedAccount:
        """Add an account with a tenant, a domain that counts as verified, and a key."""
        account = await self.add_account(f"account of {domain}")
        tenant = await self.add_tenant(account.account_id, f"tenant of {domain}")
        added = await self.add_domain(domain, tenant=tenant.tenant_id, verified=True)
        secret, _ = await self.add_key(tenant.tenant_id, test=test)
        return CreatedAccount(account.account_id, tenant.tenant_id, added.domain_id, secret)

    def records(
        self, domain: Domain, *, bounce_mx: str, spf_include: str
    ) -> tuple[records.DnsRecord, ...]:
        """The DNS records that the domain's owner should publish."""
        return DomainKeyring(
            self._secrets, InstallationHosts(bounce_mx, spf_include), report_key=bytes(16)
        ).records(domain)

    async def _domains(self, owner: Tenant) -> list[Domain]:
        return await self.store.list_domains(owner.tenant_id, owner.account_id)

    async def _domain_id(self, owner: Tenant, domain: str) -> str:
        """The id of a domain that the tenant can send from."""
        for one in await self._domains(owner):
            if domain in (one.domain_id, one.name):
                return one.domain_id
        raise ConfigError(f"{owner.name} cannot send from {domain!r}. See `obm domain list`.")

    async def _find_one(self, kind: type[N], name: str) -> N:
        found = await self.store.find_by_id_or_name(kind, name)
        if len(found) != 1:
            what = kind.__name__.lower()
            problem = "There is no" if not found else "There is more than one"
            raise ConfigError(f"{problem} {what} {name!r}. Use its id, see `obm {what} list`.")
        return found[0]


async def leave_to_sweep(_: object) -> None:
    """Nothing is published here: ingest publishes what is left in its outbox, at once."""
