"""The tables of the directory: each entry is its protobuf record, with columns for lookups."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar, cast
from uuid import UUID

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import (
    Account,
    ApiKey,
    Brand,
    Domain,
    Mailbox,
    Tenant,
    TrackingHost,
)
from kernel.brand import brand_of
from kernel.database import Database, Transaction
from kernel.lease import Lease
from services.ingest.store.audit_log import AuditActor, AuditSubject, record_changes

DirectoryEntry: TypeAlias = Account | ApiKey | Brand | Domain | Tenant | Mailbox | TrackingHost
E = TypeVar("E", Account, ApiKey, Brand, Domain, Tenant, Mailbox, TrackingHost)

TABLES: Mapping[type[Message], str] = {
    Account: "ingest.accounts",
    Tenant: "ingest.tenants",
    ApiKey: "ingest.api_keys",
    Domain: "ingest.domains",
    Mailbox: "ingest.mailboxes",
    Brand: "ingest.brands",
    TrackingHost: "ingest.tracking_hosts",
}
IDS = {
    Account: "account_id",
    Tenant: "tenant_id",
    ApiKey: "key_id",
    Domain: "domain_id",
    Mailbox: "mailbox_id",
    Brand: "brand_id",
    TrackingHost: "tracking_host_id",
}

# Held until the commit, so that versions become visible in order: a reader that has seen one has
# seen all earlier ones. A sequence alone does not guarantee that.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('ingest.directory_version', 0))"

# The microseconds of PostgreSQL's clock, or one more than the last version. Counted from one, the
# versions of a restored database would be older than those that other services know, which ignore
# them.
NEXT_VERSION = (
    "setval('ingest.directory_version', greatest(nextval('ingest.directory_version'),"
    " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))"
)

# The names of the kinds in the API and in the audit log.
RESOURCES = {
    Account: "account",
    Tenant: "tenant",
    ApiKey: "api_key",
    Domain: "domain",
    Mailbox: "mailbox",
    Brand: "brand",
}

KINDS: Sequence[type[DirectoryEntry]] = (
    Tenant, ApiKey, Domain, Account, Mailbox, Brand, TrackingHost
)  # fmt: skip
_CHANGED = [
    f"(SELECT {number} AS kind, version, record FROM {TABLES[kind]}"  # noqa: S608 - our own words
    " WHERE version > %(after)s ORDER BY version LIMIT %(count)s)"
    for number, kind in enumerate(KINDS)
]
CHANGES = f"{' UNION ALL '.join(_CHANGED)} ORDER BY version LIMIT %(count)s"
PAGE = 500

# Queried under the lock, so that the second of two concurrent additions finds the first.
HOLDERS = """
SELECT 1 FROM ingest.domains
WHERE name = %(name)s AND NOT deleted AND id <> %(id)s
    AND account_id = %(account_id)s AND (tenant_id = %(tenant_id)s OR shared)
"""


class DomainExists(Exception):
    """The account has the domain already: in this tenant, or shared."""


class TenantExists(Exception):
    """The account has a tenant with this external_id."""


class DirectoryTransaction:
    """A change of the directory: its transaction excludes all others, so what it has read stays
    true until it is committed. actor: whose acts are recorded; None for those of the engine."""

    def __init__(self, tx: Transaction, actor: AuditActor | None) -> None:
        self.tx = tx
        self.actor = actor
        self.saved: list[DirectoryEntry] = []

    async def find(self, kind: type[E], entry_id: str) -> E | None:
        """The entry, unless it is deleted."""
        found = await self._read(kind, "id = %s", (entry_id,))
        return next((one for one in found if not one.deleted), None)

    async def rotations_of(self, key_id: str) -> list[ApiKey]:
        """The keys that have replaced a key, oldest first, including deleted ones."""
        return await self._read(ApiKey, "rotated_from = %s ORDER BY id", (key_id,))

    async def mailboxes_at(
        self, tenant_id: str, addresses: Sequence[str], *, test: bool
    ) -> list[Mailbox]:
        """The mailboxes of a tenant with these addresses."""
        where = "tenant_id = %s AND address = ANY(%s) AND test = %s AND NOT deleted"
        return await self._read(Mailbox, where, (tenant_id, list(addresses), test))

    async def existing(self, kind: type[E], ids: Collection[str]) -> set[str]:
        """Which of these ids are of entries that are not deleted."""
        sql = f"SELECT id::text FROM {TABLES[kind]} WHERE id = ANY(%s::uuid[]) AND NOT deleted"  # noqa: S608
        return {str(entry_id) for (entry_id,) in await self.tx.rows(sql, (list(ids),))}

    async def owns(self, kind: type[E], owner: str, owner_id: str) -> bool:
        """Whether entries of this kind belong to an account or a tenant; owner: its column."""
        where = f"{owner} = %s AND NOT deleted LIMIT 1"
        return bool(await self._read(kind, where, (owner_id,)))

    async def save(self, entry: DirectoryEntry, action: str = "") -> None:
        """Insert or replace with a new version. action: for the audit log; by default create,
        update or delete. Raises DomainExists, TenantExists."""
        await write_entry(self.tx, entry, actor=self.actor, action=action)
        self.saved.append(entry)

    async def _read(self, kind: type[E], where: str, params: Sequence[Any]) -> list[E]:
        return await read_entries(self.tx, kind, where, params=params)


class DirectoryStore:
    """Reads and writes the directory for `obm` and the API; DirectoryCache follows its versions.
    actor: whose acts `save` records; None for those of the engine."""

    def __init__(self, database: Database, *, actor: AuditActor | None = None) -> None:
        self._database = database
        self.actor = actor
        self._listeners: list[Callable[[DirectoryEntry], None]] = []

    def on_saved(self, listener: Callable[[DirectoryEntry], None]) -> None:
        """Register a listener for each entry that this process saves."""
        self._listeners.append(listener)

    async def save(self, *entries: DirectoryEntry) -> None:
        """Insert or replace, each with a new version, in one transaction. Raises DomainExists,
        TenantExists."""
        async with self.changing(self.actor) as change:
            for entry in entries:
                await change.save(entry)

    @asynccontextmanager
    async def changing(self, actor: AuditActor | None) -> AsyncIterator[DirectoryTransaction]:
        """Read, decide and save in one transaction. Nothing is saved if the block raises."""
        async with self._database.transaction() as tx:
            await tx.execute(LOCK)
            change = DirectoryTransaction(tx, actor)
            yield change
        self.call_listeners(*change.saved)

    def call_listeners(self, *entries: DirectoryEntry) -> None:
        """Call the listeners, after a commit."""
        for listener in self._listeners:
            for entry in entries:
                listener(entry)

    async def changes(self, *, after: int, count: int) -> list[DirectoryEntry]:
        """Changed entries by version. Deleted entries stay in the table, so that
        every reader sees the deletion."""
        rows = await self._database.execute_autocommit(
            CHANGES, {"after": after, "count": count}, binary=True
        )
        return [KINDS[kind].FromString(record) for kind, _, record in rows]

    async def list_domains(self, tenant_id: str, account_id: str) -> list[Domain]:
        """All domains that the tenant can send from."""
        where = "NOT deleted AND (tenant_id = %s OR (shared AND account_id = %s)) ORDER BY name"
        return await self._select(Domain, where, (tenant_id, account_id))

    async def find_by_id_or_name(self, kind: type[E], name: str) -> list[E]:
        """The entries with this id or name."""
        return await self._select(kind, "id::text = %s OR name = %s", (name, name))

    async def list_all(self, kind: type[E]) -> list[E]:
        """All entries, by id."""
        found: list[E] = []
        last = UUID(int=0)
        while page := await self._page(kind, last):
            found += (entry for _, entry in page if not entry.deleted)
            last = page[-1][0]
        return found

    async def _page(self, kind: type[E], after: UUID) -> list[tuple[UUID, E]]:
        rows = await self._database.execute_autocommit(
            f"SELECT id, record FROM {TABLES[kind]} WHERE id > %s ORDER BY id LIMIT {PAGE}",  # noqa: S608
            (after,),
        )
        return [(entry_id, kind.FromString(bytes(record))) for entry_id, record in rows]

    async def list_of_tenant(self, kind: type[E], tenant_id: str) -> list[E]:
        return await self._select(kind, "tenant_id = %s ORDER BY id", (tenant_id,))

    async def _select(self, kind: type[E], where: str, params: Sequence[Any]) -> list[E]:
        async with self._database.transaction() as tx:
            rows = await tx.rows(
                f"SELECT record FROM {TABLES[kind]} WHERE {where}",  # noqa: S608 - our own words
                params,
            )
        entries = [kind.FromString(bytes(record)) for (record,) in rows]
        return [entry for entry in entries if not entry.deleted]


async def read_entries(
    tx: Transaction, kind: type[E], where: str, *, params: Sequence[Any]
) -> list[E]:
    """where: a condition, with the params. Deleted entries too."""
    rows = await tx.rows(f"SELECT record FROM {TABLES[kind]} WHERE {where}", params)  # noqa: S608
    return [kind.FromString(bytes(record)) for (record,) in rows]


async def write_entry(
    tx: Transaction, entry: DirectoryEntry, *, actor: AuditActor | None = None, action: str = ""
) -> None:
    """Insert or replace with a new version, in a transaction that has LOCK; with an actor, record
    the act. Raises DomainExists, TenantExists."""
    if actor is not None:
        kind: Any = type(entry)
        subject = AuditSubject(RESOURCES[kind], str(getattr(entry, IDS[kind])))
        before = next(iter(await read_entries(tx, kind, "id = %s", params=(subject.id,))), None)
        await record_changes(tx, actor, [(subject, before, entry)], action=action)
    if isinstance(entry, Domain) and not entry.deleted:
        await _raise_if_taken(tx, entry)
    if isinstance(entry, Tenant) and entry.external_id and not entry.deleted:
        await _raise_if_external_id_taken(tx, entry)
    [(version,)] = await tx.rows(f"SELECT {NEXT_VERSION}")
    entry.version = version
    columns = {**entry_columns(entry), "version": version, "record": entry.SerializeToString()}
    names = ", ".join(columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "id")
    marks = ", ".join(f"%({name})s" for name in columns)
    await tx.execute(
        f"INSERT INTO {TABLES[type(entry)]} ({names}) VALUES ({marks})"  # noqa: S608
        f" ON CONFLICT (id) DO UPDATE SET {changes}",
        columns,
    )


def entry_columns(entry: DirectoryEntry) -> dict[str, object]:
    """The columns for lookups, besides the versions and the record."""
    found: dict[str, object] = {
        "id": getattr(entry, IDS[type(entry)]),
        "deleted": entry.deleted,
    }
    if isinstance(entry, Account):
        own = {"name": entry.name, "brand": entry.brand}
        return {**found, **own, "plan": entry.plan, "billing_id": entry.billing_id}
    if isinstance(entry, Brand):
        return {**found, "hosts": list(brand_of(entry).hosts)}
    if isinstance(entry, Tenant):
        own = {"account_id": entry.account_id, "external_id": entry.external_id}
        return {**found, **own, "name": entry.name, "pool_id": entry.pool_id or None}
    if isinstance(entry, ApiKey):
        owner = {"account_id": entry.account_id or None, "tenant_id": entry.tenant_id or None}
        owner["rotated_from"] = entry.rotated_from or None
        return {**found, **owner, "test": entry.test, "secret_sha256": entry.secret_sha256}
    owners = {"account_id": entry.account_id, "tenant_id": entry.tenant_id}
    found |= owners
    if isinstance(entry, Mailbox):
        found |= {"address": entry.address, "test": entry.test}
    elif isinstance(entry, Domain):
        found |= {"name": entry.name, "shared": entry.shared, "dkim_zone": entry.dkim_zone}
    return found


async def _raise_if_taken(tx: Transaction, domain: Domain) -> None:
    """In an account, a name is either shared or of single tenants. Accounts do not exclude each
    other: each proves ownership by publishing its own selector."""
    if await tx.rows(HOLDERS, entry_columns(domain)):
        raise DomainExists


async def _raise_if_external_id_taken(tx: Transaction, tenant: Tenant) -> None:
    """Also for an external_id that the tenant has already, without effect."""
    rows = await tx.rows(
        "SELECT 1 FROM ingest.tenants WHERE account_id = %s AND external_id = %s AND NOT deleted"
        " AND id <> %s",
        (tenant.account_id, tenant.external_id, tenant.tenant_id),
    )
    if rows:
        raise TenantExists


_CHECKS = [
    f"EXISTS (SELECT FROM {table} WHERE published_version < version)" for table in TABLES.values()
]
ANY_UNPUBLISHED = f"SELECT {' OR '.join(_CHECKS)}"


class UnpublishedEntries:
    """Directory entries to publish. Transactions are fenced, so that there is one publisher."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def exist(self) -> bool:
        """True if there are any. A plain query avoids the lock and the write of a fenced
        transaction."""
        [(found,)] = await self._database.execute_autocommit(ANY_UNPUBLISHED)
        return bool(found)

    async def next_batch(self, kind: type[E], count: int) -> list[E]:
        """Entries whose newest version is not published yet, oldest version first."""
        return await self._read(kind, f"published_version < version ORDER BY version LIMIT {count}")

    async def page(self, kind: type[E], *, after: int, count: int) -> list[E]:
        """All entries that have been published before, by version, including deleted ones: for a
        broker that has lost them."""
        where = f"published_version > 0 AND version > {after} ORDER BY version LIMIT {count}"
        return await self._read(kind, where)

    async def mark_published(self, kind: type[E], entries: Sequence[E]) -> None:
        """Record acknowledged versions. A newer version of an entry stays unpublished."""
        ids = [getattr(entry, IDS[cast(Any, kind)]) for entry in entries]
        versions = [entry.version for entry in entries]
        async with self._lease.transaction() as tx:
            await tx.execute(
                f"UPDATE {TABLES[kind]} AS e SET published_version = given.version"  # noqa: S608
                " FROM unnest(%s::uuid[], %s::bigint[]) AS given (id, version)"
                " WHERE e.id = given.id AND e.published_version < given.version",
                (ids, versions),
            )

    async def _read(self, kind: type[E], where: str) -> list[E]:
        async with self._lease.transaction() as tx:
            rows = await tx.rows(
                f"SELECT record FROM {TABLES[kind]} WHERE {where}"  # noqa: S608
            )
        return [kind.FromString(bytes(record)) for (record,) in rows]
