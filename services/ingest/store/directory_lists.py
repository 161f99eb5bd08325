"""Lists of the directory, audit log and imports: row-level security shows each caller its own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any, NamedTuple, TypeVar

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Brand, Domain, Mailbox, Tenant
from kernel.database import Database, Row, Transaction
from services.ingest.store.directory import TABLES
from services.ingest.store.resource_counts import (
    DailyResourceCounts,
    ResourceCounts,
    count_now,
    load_days,
)

LAST_USED = """
SELECT id::text, last_used_at FROM {table}
WHERE id = ANY(%s::uuid[]) AND last_used_at IS NOT NULL
"""
POOLS = "SELECT DISTINCT pool_id::text FROM ingest.tenants WHERE NOT deleted AND {owned}"
DOMAIN_NAMES = "SELECT id::text, name FROM ingest.domains WHERE id = ANY(%s::uuid[])"
ACCOUNT = "SELECT record FROM ingest.accounts WHERE id = %s"
AMONG = "SELECT id::text FROM ingest.tenants WHERE id = ANY(%s::uuid[]) AND NOT deleted"
# The first and the last tenant of a pool, by account.
USERS = """
(SELECT account_id::text, id::text FROM ingest.tenants WHERE pool_id = %(pool)s AND NOT deleted
 ORDER BY account_id, id LIMIT 1) UNION ALL
(SELECT account_id::text, id::text FROM ingest.tenants WHERE pool_id = %(pool)s AND NOT deleted
 ORDER BY account_id DESC, id DESC LIMIT 1)
"""
E = TypeVar("E", Account, ApiKey, Brand, Domain, Tenant, Mailbox)


class EntryOwner(NamedTuple):
    """Whose entries. Without an id: those of the whole installation."""

    account_id: str = ""
    tenant_id: str = ""


class PageBounds(NamedTuple):
    """Newest first. after, before: ids."""

    limit: int
    after: str = ""
    before: str = ""


class DirectoryLists:
    """system: the database with the role that sees all rows. tenant: with the bound role."""

    def __init__(self, system: Database, tenant: Database) -> None:
        self._system = system
        self._tenant = tenant

    async def page(
        self, kind: type[E], owner: EntryOwner, page: PageBounds, *, equal: Mapping[str, object]
    ) -> tuple[list[E], bool]:
        """A page, and whether more follows. equal: values by column."""
        conditions = ["NOT deleted", *(f"{column} = %({column})s" for column in equal)]
        rows, more = await self.rows(
            f"SELECT record FROM {TABLES[kind]}", owner, page, conditions=conditions, values=equal  # noqa: S608
        )  # fmt: skip
        return [kind.FromString(bytes(record)) for (record,) in rows], more

    async def find(self, kind: type[E], owner: EntryOwner, entry_id: str) -> E | None:
        """None if it does not exist or belongs to another owner."""
        found, _ = await self.page(kind, owner, PageBounds(1), equal={"id": entry_id})
        return found[0] if found else None

    async def find_account(self, account_id: str) -> Account | None:
        """Also a closed one."""
        async with self._system.transaction() as tx:
            rows = await tx.rows(ACCOUNT, (account_id,))
        return Account.FromString(bytes(rows[0][0])) if rows else None

    async def last_used(
        self, owner: EntryOwner, ids: Sequence[str], *, kind: type[ApiKey | Mailbox]
    ) -> dict[str, datetime]:
        """When credentials were last used, to the minute; without those that never were."""
        async with self._transaction(owner) as tx:
            rows = await tx.rows(LAST_USED.format(table=TABLES[kind]), (list(ids),))
        return dict(rows)

    async def pools_of(self, owner: EntryOwner) -> set[str | None]:
        """The egress pools that its tenants send through; None is the default one."""
        owned = "account_id = %(account_id)s" if owner.account_id else "true"
        async with self._transaction(owner) as tx:
            rows = await tx.rows(POOLS.format(owned=owned), owner._asdict())
        return {pool_id for (pool_id,) in rows}

    async def owner_of_pool(self, pool_id: str) -> EntryOwner:
        """The only account, and the only tenant, that sends through an egress pool."""
        async with self._system.transaction() as tx:
            rows = await tx.rows(USERS, {"pool": pool_id})
        accounts, tenants = ({row[column] for row in rows} for column in (0, 1))
        if len(accounts) != 1:
            return EntryOwner()
        return EntryOwner(accounts.pop(), tenants.pop() if len(tenants) == 1 else "")

    async def tenants_among(self, owner: EntryOwner, ids: Sequence[str]) -> set[str]:
        """Those of these tenants that belong to it."""
        async with self._transaction(owner) as tx:
            rows = await tx.rows(AMONG, (list(ids),))
        return {tenant_id for (tenant_id,) in rows}

    async def domain_names(self, owner: EntryOwner, ids: Sequence[str]) -> dict[str, str]:
        """By id, also of domains that were deleted."""
        async with self._transaction(owner) as tx:
            return dict(await tx.rows(DOMAIN_NAMES, (list(ids),)))

    async def resources_of(
        self, owner: EntryOwner, first: date, *, end: date
    ) -> tuple[ResourceCounts, Sequence[DailyResourceCounts]]:
        """What it has now; and what an account has had, on the days from first to before end."""
        async with self._transaction(owner) as tx:
            days = await load_days(tx, owner.account_id, first, end=end)
            return await count_now(tx), days

    async def rows(
        self,
        select: str,
        owner: EntryOwner,
        page: PageBounds,
        *,
        conditions: Sequence[str],
        values: Mapping[str, object],
    ) -> tuple[list[Row], bool]:
        """Rows of a table with an id, and whether more follows in the direction of the page."""
        backwards = bool(page.before)
        paging = [*(["id > %(before)s"] if backwards else ["id < %(after)s"] if page.after else [])]
        where = " AND ".join([*conditions, *paging]) or "true"
        order = "ASC" if backwards else "DESC"
        params: dict[str, Any] = {**values, **page._asdict(), "count": page.limit + 1}
        async with self._transaction(owner) as tx:
            found = await tx.rows(
                f"{select} WHERE {where} ORDER BY id {order} LIMIT %(count)s", params
            )
        shown = found[: page.limit]
        return shown[::-1] if backwards else shown, len(found) > page.limit

    @asynccontextmanager
    async def _transaction(self, owner: EntryOwner) -> AsyncIterator[Transaction]:
        if owner.tenant_id:
            async with self._tenant.transaction(tenant_id=owner.tenant_id) as tx:
                yield tx
        elif owner.account_id:
            async with self._tenant.transaction(account_id=owner.account_id) as tx:
                yield tx
        else:
            async with self._system.transaction() as tx:
                yield tx
