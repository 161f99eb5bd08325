"""The directory as its owner keeps it: an entry is its record, with what it is looked up by."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, Tenant
from kernel.database import Database, Transaction
from kernel.lease import Lease

Entry: TypeAlias = Account | ApiKey | Domain | Tenant
E = TypeVar("E", Account, ApiKey, Domain, Tenant)

TABLES: Mapping[type[Message], str] = {
    Account: "ingest.accounts",
    Tenant: "ingest.tenants",
    ApiKey: "ingest.api_keys",
    Domain: "ingest.domains",
}
IDS = {Account: "account_id", Tenant: "tenant_id", ApiKey: "key_id", Domain: "domain_id"}


class DirectoryStore:
    """Reads fall through to here when a record is not there yet; `obm` and the API write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, *entries: Entry) -> None:
        """Insert or replace, each with a new version, in one transaction."""
        async with self._database.transaction() as tx:
            for entry in entries:
                await _save(tx, entry)

    async def key(self, secret_sha256: bytes) -> ApiKey | None:
        return await self._one(ApiKey, "secret_sha256 = %s", (secret_sha256,))

    async def account(self, account_id: str) -> Account | None:
        return await self._one(Account, "id = %s", (account_id,))

    async def tenant(self, tenant_id: str) -> Tenant | None:
        return await self._one(Tenant, "id = %s", (tenant_id,))

    async def domain(self, tenant_id: str, account_id: str, *, name: str) -> Domain | None:
        """The tenant's own, else one shared in its account."""
        where = (
            "name = %s AND NOT deleted AND (tenant_id = %s OR (shared AND account_id = %s))"
            " ORDER BY tenant_id = %s DESC LIMIT 1"
        )
        return await self._one(Domain, where, (name, tenant_id, account_id, tenant_id))

    async def domains(self, tenant_id: str, account_id: str) -> list[Domain]:
        """All that the tenant may send from."""
        where = "NOT deleted AND (tenant_id = %s OR (shared AND account_id = %s)) ORDER BY name"
        return await self._all(Domain, where, (tenant_id, account_id))

    async def named(self, kind: type[E], name: str) -> list[E]:
        """Those whose id or name this is."""
        return await self._all(kind, "id::text = %s OR name = %s", (name, name))

    async def every(self, kind: type[E]) -> list[E]:
        return await self._all(kind, "true ORDER BY id", ())

    async def of_tenant(self, kind: type[E], tenant_id: str) -> list[E]:
        return await self._all(kind, "tenant_id = %s ORDER BY id", (tenant_id,))

    async def _one(self, kind: type[E], where: str, params: Sequence[Any]) -> E | None:
        found = await self._all(kind, where, params)
        return found[0] if found else None

    async def _all(self, kind: type[E], where: str, params: Sequence[Any]) -> list[E]:
        async with self._database.transaction() as tx:
            rows = await tx.rows(
                f"SELECT record FROM {TABLES[kind]} WHERE {where}",  # noqa: S608 - our own words
                params,
            )
        entries = [kind.FromString(bytes(record)) for (record,) in rows]
        return [entry for entry in entries if not entry.deleted]


async def _save(tx: Transaction, entry: Entry) -> None:
    # Versions of one entry must commit in their order; those of different ones need not.
    entry_id = getattr(entry, IDS[type(entry)])
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (entry_id,))
    [(version,)] = await tx.rows("SELECT nextval('ingest.directory_version')")
    entry.version = version
    columns = {**_columns(entry), "version": version, "record": entry.SerializeToString()}
    names = ", ".join(columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "id")
    marks = ", ".join(f"%({name})s" for name in columns)
    await tx.execute(
        f"INSERT INTO {TABLES[type(entry)]} ({names}) VALUES ({marks})"  # noqa: S608
        f" ON CONFLICT (id) DO UPDATE SET {changes}",
        columns,
    )


def _columns(entry: Entry) -> dict[str, object]:
    found: dict[str, object] = {"id": getattr(entry, IDS[type(entry)])}
    if isinstance(entry, Account):
        return {**found, "name": entry.name}
    if isinstance(entry, Tenant):
        return {**found, "account_id": entry.account_id, "name": entry.name}
    if isinstance(entry, ApiKey):
        return {**found, "tenant_id": entry.tenant_id, "secret_sha256": entry.secret_sha256}
    return {
        **found,
        "tenant_id": entry.tenant_id,
        "account_id": entry.account_id,
        "name": entry.name,
        "shared": entry.shared,
        "deleted": entry.deleted,
    }


_LOOKS = [f"EXISTS (SELECT FROM {table} WHERE told < version)" for table in TABLES.values()]
ANY_UNTOLD = f"SELECT {' OR '.join(_LOOKS)}"


class Untold:
    """What the publisher has to tell. Transactions are fenced: there is one publisher."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def any(self) -> bool:
        """Whether there is something: a look that locks and writes nothing, as a fence does."""
        [(found,)] = await self._database.once(ANY_UNTOLD)
        return bool(found)

    async def next(self, kind: type[E], count: int) -> list[E]:
        """Entries whose newest version is not told yet, oldest version first."""
        return await self._read(kind, f"told < version ORDER BY version LIMIT {count}")

    async def page(self, kind: type[E], *, after: int, count: int) -> list[E]:
        """All, deleted ones too, by version: for a broker that has lost them."""
        return await self._read(kind, f"version > {after} ORDER BY version LIMIT {count}")

    async def told(self, kind: type[E], entries: Sequence[E]) -> None:
        """They are acknowledged. An entry that has changed since keeps its newer version untold."""
        ids = [getattr(entry, IDS[cast(Any, kind)]) for entry in entries]
        versions = [entry.version for entry in entries]
        async with self._lease.transaction() as tx:
            await tx.execute(
                f"UPDATE {TABLES[kind]} AS e SET told = given.version"  # noqa: S608
                " FROM unnest(%s::uuid[], %s::bigint[]) AS given (id, version)"
                " WHERE e.id = given.id AND e.told < given.version",
                (ids, versions),
            )

    async def _read(self, kind: type[E], where: str) -> list[E]:
        async with self._lease.transaction() as tx:
            rows = await tx.rows(
                f"SELECT record FROM {TABLES[kind]} WHERE {where}"  # noqa: S608
            )
        return [kind.FromString(bytes(record)) for (record,) in rows]
