"""Writes accounts, tenants, keys and domains, for commands and tests."""

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from cli.environment import load_settings
from contracts.ingest.v1.directory_pb2 import Account, ApiKey, ApiKeyKind, Domain, Mailbox, Tenant
from kernel import auth, crypto
from kernel.brand import Brands, read_brands
from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.errors import ConfigError
from kernel.ids import uuid7_text
from kernel.outbox import Outbox
from mail import records
from mail.address import AddressError
from services.ingest.api.administration.api_keys import new_key
from services.ingest.domain.domain_name import sending_domain
from services.ingest.domain.rotation import is_rotating
from services.ingest.domain.verification import NOT_STARTED, VERIFIED
from services.ingest.settings import Settings
from services.ingest.store.audit_log import Actor
from services.ingest.store.directory import DirectoryStore, DomainConflict
from services.ingest.store.domain_keys import DomainKeys, PublishedHosts
from services.ingest.store.domains import (
    DomainCheck,
    DomainStore,
    begin_checks,
    begin_rotation,
)

T = TypeVar("T")
N = TypeVar("N", Account, Tenant, Domain, ApiKey, Mailbox)
NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class CreatedAccount:
    """An account with one tenant, one domain and one key, ready to send."""

    account_id: str
    tenant_id: str
    domain_id: str
    api_key: str


@asynccontextmanager
async def open_directory(settings: Settings | None = None) -> AsyncIterator["DirectoryAdmin"]:
    """Open the directory with the database and the secrets of the installation. Raises
    ConfigError."""
    settings = settings or load_settings(Settings)
    database = Database(settings.system_database_url, connections_max=1, name="obm")
    try:
        brands = read_brands(settings.brands_file)
        yield DirectoryAdmin(database, SecretKeyring(settings.secret_keys), brands)
    finally:
        await database.close()


def user() -> Actor:
    """The user of a command, for the audit log."""
    try:
        return Actor("command", getpass.getuser())
    except (KeyError, OSError):  # without an entry in the password database
        return Actor("command", str(os.getuid()))


def run_in_directory(action: Callable[["DirectoryAdmin"], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_directory() as directory:
            return await action(directory)

    return asyncio.run(run())


class DirectoryAdmin:
    """Writes the directory. The services apply the changes within a second."""

    def __init__(self, database: Database, secrets: SecretKeyring, brands: Brands) -> None:
        self._brands = brands
        self.store = DirectoryStore(database, actor=user())
        self.domains = DomainStore(database, self.store, Outbox(database, "ingest", leave_to_sweep))
        self._secrets = secrets
        self._domain_keys = DomainKeys(secrets, PublishedHosts("", ""))

    async def add_account(self, name: str, *, brand: str = "") -> Account:
        """brand: a table of the brands file. Raises ConfigError."""
        if brand and brand not in self._brands.ids:
            known = ", ".join(self._brands.ids)
            raise ConfigError(f"There is no brand {brand!r} in OBM_BRANDS_FILE, only {known}.")
        account = Account(account_id=uuid7_text(), name=normalize_name(name), brand=brand)
        await self.store.save(account)
        return account

    async def check_account(self, account: str) -> None:
        """account: its id or name. Raises ConfigError unless there is exactly one."""
        await self._find_one(Account, account)

    async def add_tenant(self, account: str, name: str, *, chosen: Tenant | None = None) -> Tenant:
        """account: its id or name. chosen: limits, thresholds, pool, policy."""
        owner = await self._find_one(Account, account)
        tenant = Tenant(
            tenant_id=uuid7_text(),
            account_id=owner.account_id,
            name=normalize_name(name),
            content_key=self._secrets.encrypt(crypto.new_key()),
        )
        tenant.MergeFrom(chosen or Tenant())
        await self.store.save(tenant)
        return tenant

    async def change_tenant(self, tenant: str, fields: Mapping[str, Any]) -> Tenant:
        """tenant: its id or name. fields: new values by name."""
        changed = await self._find_one(Tenant, tenant)
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
            brand=self._brands.named(await self._brand_of(owner)).slug,
            tenant_id=owner.tenant_id,
            account_id=owner.account_id,
            name=name,
            scopes=scopes,
            domain_id=domain_id,
            cidrs=networks(cidrs),
            expires_at=expires_at,
        )
        await self.store.save(key)
        return secret, key

    async def add_operator_key(
        self, *, name: str, cidrs: Sequence[str] = (), expires_at: Timestamp | None = None
    ) -> tuple[str, ApiKey]:
        """Returns the secret key, which is not stored, and its record."""
        secret, key = new_key(
            test=False, brand=self._brands.default.slug, name=name,
            kind=ApiKeyKind.API_KEY_KIND_OPERATOR, scopes=[auth.FULL_ACCESS],
            cidrs=networks(cidrs), expires_at=expires_at,
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
            domain_name(name),
            tenant_id=owner.tenant_id,
            account_id=owner.account_id,
            brand=await self._brand_of(owner),
        )
        domain.shared, domain.vouched = shared, verified
        domain.status = VERIFIED if verified else NOT_STARTED
        try:
            await self.domains.add(domain)
        except DomainConflict as taken:
            reason = f"{domain.name} exists already. See `obm domain list`."
            raise ConfigError(reason) from taken
        return domain

    async def _brand_of(self, tenant: Tenant) -> str:
        """The brand that its account names."""
        return (await self._find_one(Account, tenant.account_id)).brand

    async def find_domain(self, domain: str) -> tuple[Domain, DomainCheck]:
        """domain: its id or name. The domain with what the last check has found."""
        found = await self._find_one(Domain, domain)
        return found, await self.domains.check_of(found)

    async def check_domain(self, domain: str) -> None:
        """Let ingest check the DNS records of a domain now. domain: its id or name."""
        found = await self._find_one(Domain, domain)
        await self.domains.change(found.domain_id, begin_checks)

    async def rotate_dkim(self, domain: str) -> Domain:
        """Add pending DKIM keys, which sign once DNS has them. domain: its id or name."""
        found = await self._find_one(Domain, domain)
        if is_rotating(found):
            raise ConfigError(f"{found.name} is being rotated. See `obm domain show {domain}`.")
        keys = await self._domain_keys.new_keys()
        await self.domains.change(
            found.domain_id, lambda one, check, now: begin_rotation(keys, one, check, now=now)
        )
        return await self._find_one(Domain, domain)

    async def delete_key(self, key_id: str) -> None:
        """The record stays, marked as deleted, so that all caches are updated."""
        for key in await self.store.list_all(ApiKey):
            if key.key_id == key_id:
                key.deleted = True
                await self.store.save(key)
                return
        raise ConfigError(f"There is no key {key_id!r}. See `obm key list`.")

    async def remove(self, kind: type[N], identifier: str) -> None:
        """The record stays, marked as deleted. Raises ConfigError if other entries belong to it."""
        removed = await self._find_one(kind, identifier)
        if isinstance(removed, Account):
            await self._raise_if_owner(removed.name, Tenant, account_id=removed.account_id)
        if isinstance(removed, Tenant):
            await self._raise_if_owner(removed.name, ApiKey, tenant_id=removed.tenant_id)
            await self._raise_if_owner(removed.name, Domain, tenant_id=removed.tenant_id)
            await self._raise_if_owner(removed.name, Mailbox, tenant_id=removed.tenant_id)
        removed.deleted = True
        await self.store.save(removed)

    async def _raise_if_owner(self, name: str, kind: type[N], **owner: str) -> None:
        [(field, identifier)] = owner.items()
        if any(getattr(one, field) == identifier for one in await self.store.list_all(kind)):
            what = kind.__name__.lower().removeprefix("api")
            raise ConfigError(f"{name} has a {what}. Remove it first, see `obm {what} list`.")

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
        hosts = PublishedHosts(bounce_mx, spf_include)
        by_brand = PublishedHosts.of_brands(self._brands, hosts)
        return DomainKeys(self._secrets, hosts, by_brand).records(domain)

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
    """Commands do not publish: ingest publishes what they leave in its outbox."""


def normalize_name(text: str) -> str:
    """Normalize a display name. Raises ConfigError."""
    if not (name := " ".join(text.split())) or len(name) > NAME_MAX or not name.isprintable():
        raise ConfigError(f"A name must have 1 to {NAME_MAX} printable characters.")
    return name


def domain_name(text: str) -> str:
    """Check the name of a sending domain. Raises ConfigError."""
    try:
        return sending_domain(text)
    except AddressError as error:
        raise ConfigError(str(error)) from error


def networks(cidrs: Sequence[str]) -> list[str]:
    """Raises ConfigError."""
    try:
        return [str(ip_network(cidr, strict=False)) for cidr in cidrs]
    except ValueError as error:
        raise ConfigError(f"Invalid --cidr: {error}.") from error


async def create_operator_key(name: str) -> str:
    async with open_directory() as directory:
        return (await directory.add_operator_key(name=name))[0]


async def create_sandbox_key(domain: str) -> str:
    """A test key of the tenant that owns the domain; of a new tenant if there is none."""
    async with open_directory() as directory:
        if existing := await directory.store.find_by_id_or_name(Domain, domain):
            own = min(existing, key=lambda one: one.domain_id)  # others may add the name later
            return (await directory.add_key(own.tenant_id, test=True))[0]
        return (await directory.add_complete_account(domain, test=True)).api_key
