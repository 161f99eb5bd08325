"""The directory in memory, read from ingest's database: a lookup costs no query."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import (
    Account,
    AccountStatus,
    ApiKey,
    Brand,
    Domain,
    Mailbox,
    Tenant,
    TrackingHost,
)
from kernel import clock
from kernel.brand import Brands, brand_of
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.table import ReplicatedTable
from services.ingest.store.directory import DirectoryEntry, DirectoryStore

PAGE = 500
# Limits reads to fifty a second, however many unknown entries are looked up.
PAUSE_S = 0.02
WAIT_S = 5.0

E = TypeVar("E", bound=Message)


def _domain_key(domain: Domain) -> tuple[str, str]:
    return (domain.account_id if domain.shared else domain.tenant_id, domain.name)


def _external_key(tenant: Tenant) -> tuple[str, str]:
    return (tenant.account_id, tenant.external_id)


class DirectoryCache:
    """Reads the changes of the database by version; the broker is not involved.

    every_s: interval between two reads of changes. age_max_s: maximum age of the last complete
    read; above it no key is accepted. A lookup of an unknown entry waits for the next read, which
    serves all waiting lookups. brands: gets the records.
    """

    def __init__(
        self,
        store: DirectoryStore,
        health: DependencyHealth,
        *,
        every_s: float,
        age_max_s: float,
        brands: Brands | None = None,
    ) -> None:
        self._store = store
        self._health = health
        self._every_s = every_s
        self._age_max_s = age_max_s
        self._create_tables(brands)
        self._version = 0
        self._fresh_until_s = clock.monotonic_s() + age_max_s
        self._read_requested = asyncio.Event()
        # resolved when the next read ends
        self._next: asyncio.Future[Unavailable | None] = _future()
        health.unavailable.add("directory")
        store.on_saved(self._put)

    def _create_tables(self, brands: Brands | None) -> None:
        self._tenants = ReplicatedTable(Tenant)
        self._keys = ReplicatedTable(ApiKey, index=lambda key: key.secret_sha256)
        self._domains = ReplicatedTable(Domain, index=_domain_key)
        self._accounts = ReplicatedTable(Account)
        self._mailboxes = ReplicatedTable(Mailbox, index=lambda one: one.password_sha256)
        # by the password before the last rotation
        self._rotated = ReplicatedTable(Mailbox, index=lambda one: one.previous_sha256)
        self._mailboxes.on_change(self._rotated.put)
        # Ids of suspended accounts and paused tenants: a request without any costs no lookup.
        self.stopped: set[str] = set()
        self._accounts.on_change(self._set_account)
        self._hosts = ReplicatedTable(TrackingHost, index=lambda one: one.host)
        self._brands = ReplicatedTable(Brand)
        if brands is not None:
            self._brands.on_change(partial(_put_brand, brands))
        self._tenants.on_change(self._set_tenant)
        self._external = ReplicatedTable(Tenant, index=_external_key)
        self._tenants.on_change(self._external.put)
        self._tables: dict[type[Any], ReplicatedTable[Any]] = {
            Account: self._accounts,
            Tenant: self._tenants,
            ApiKey: self._keys,
            Domain: self._domains,
            Mailbox: self._mailboxes,
            Brand: self._brands,
            TrackingHost: self._hosts,
        }

    def key(self, secret_sha256: bytes) -> ApiKey | None:
        """None if the key is unknown or the cache is too old."""
        return self._keys.get_by_index(secret_sha256) if self._is_fresh else None

    async def fetch_key(self, secret_sha256: bytes) -> ApiKey | None:
        """Look up a key after a new read. Raises Unavailable."""
        await self._wait_for_read()
        return self._keys.get_by_index(secret_sha256)

    async def mailbox(self, password_sha256: bytes) -> Mailbox | None:
        """The mailbox with this password, or with it before the last rotation. Raises
        Unavailable."""
        by, by_previous = self._mailboxes.get_by_index, self._rotated.get_by_index
        return await self._find(lambda: by(password_sha256) or by_previous(password_sha256))

    async def tenant(self, tenant_id: str) -> Tenant | None:
        return await self._find(lambda: self._tenants.get(tenant_id))

    async def tenant_named(self, account_id: str, name: str) -> Tenant | None:
        """The account's tenant with this id or external_id, which is not empty."""
        by_id, by_external = self._tenants.get, self._external.get_by_index

        def lookup() -> Tenant | None:
            own = by_id(name)
            if own is not None and own.account_id == account_id:
                return own
            return by_external((account_id, name))

        return await self._find(lookup)

    async def account(self, account_id: str) -> Account | None:
        return await self._find(lambda: self._accounts.get(account_id))

    def cached_account(self, account_id: str) -> Account | None:
        """None also if it has not been read yet."""
        return self._accounts.get(account_id)

    async def domain(self, tenant_id: str, account_id: str, *, name: str) -> Domain | None:
        """The tenant's domain of this name, or the shared domain of its account."""
        by = self._domains.get_by_index
        return await self._find(lambda: by((tenant_id, name)) or by((account_id, name)))

    def cached_domain(self, tenant_id: str, account_id: str, *, name: str) -> Domain | None:
        """`domain` without waiting: None also if it is unknown, or the cache is too old."""
        by = self._domains.get_by_index
        return (by((tenant_id, name)) or by((account_id, name))) if self._is_fresh else None

    def tracking_host(self, host: str) -> TrackingHost | None:
        """None also if it has not been read yet."""
        return self._hosts.get_by_index(host)

    async def refresh(self) -> None:
        """Read what has been committed before this call. Raises Unavailable."""
        await self._wait_for_read()

    async def run(self) -> None:
        """A loop: read the changes at an interval, and whenever a lookup waits."""
        while True:
            ended, self._next = self._next, _future()
            self._read_requested.clear()
            ended.set_result(await self._try_read())
            await asyncio.sleep(PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._read_requested.wait()

    @property
    def _is_fresh(self) -> bool:
        return clock.monotonic_s() < self._fresh_until_s

    async def _find(self, lookup: Callable[[], E | None]) -> E | None:
        """Raises Unavailable."""
        if self._is_fresh and (found := lookup()):
            return found
        await self._wait_for_read()
        return lookup()

    async def _wait_for_read(self) -> None:
        """Return when everything committed before this call has been read. Raises Unavailable."""
        self._read_requested.set()
        try:
            async with asyncio.timeout(WAIT_S):
                error = await asyncio.shield(self._next)
        except TimeoutError:
            raise Unavailable("the directory") from None
        if error is not None:
            raise Unavailable(str(error)) from error

    async def _try_read(self) -> Unavailable | None:
        began_s = clock.monotonic_s()
        try:
            await self._read()
        except Unavailable as error:
            return error
        self._fresh_until_s = began_s + self._age_max_s
        self._health.unavailable.discard("directory")
        return None

    async def _read(self) -> None:
        """Read all changes, page by page."""
        while changes := await self._store.changes(after=self._version, count=PAGE):
            for entry in changes:
                self._put(entry)
            self._version = changes[-1].version
            if len(changes) < PAGE:
                return

    def _set_account(self, account: Account) -> None:
        suspended = account.status == AccountStatus.ACCOUNT_STATUS_SUSPENDED
        self._set_stopped(account.account_id, suspended and not account.deleted)

    def _set_tenant(self, tenant: Tenant) -> None:
        self._set_stopped(tenant.tenant_id, tenant.HasField("pause") and not tenant.deleted)

    def _set_stopped(self, entry_id: str, stopped: bool) -> None:
        (self.stopped.add if stopped else self.stopped.discard)(entry_id)

    def _put(self, entry: DirectoryEntry) -> None:
        if table := self._tables.get(type(entry)):
            table.put(entry)


def _put_brand(brands: Brands, record: Brand) -> None:
    brands.put(record.brand_id, None if record.deleted else brand_of(record))


def _future() -> "asyncio.Future[Unavailable | None]":
    return asyncio.get_running_loop().create_future()
