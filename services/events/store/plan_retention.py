"""Deletes the mail of a day but that of accounts whose plan keeps it longer. Page by page; a day
without such accounts is dropped as a whole instead.

The mail of a tenant whose account is not known is deleted with the rest: the loop that completes
accounts had a month for it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from kernel.database import Database, Transaction
from kernel.days import id_bounds

PAGE = 2_000
TENANTS = """
SELECT coalesce(array_agg(tenant_id::text), '{}') FROM events.tenant_accounts
WHERE account_id = ANY(%s::uuid[])
"""
DONE = "SELECT FROM events.kept_days WHERE day = %s AND accounts = %s::uuid[]"
MARK = """
INSERT INTO events.kept_days (day, accounts) VALUES (%s, %s::uuid[])
ON CONFLICT (day) DO UPDATE SET accounts = excluded.accounts
"""
FORGET = "DELETE FROM events.kept_days WHERE day = %s"
# In the order of the primary key; the bounds of the day exclude other partitions. A page has what
# is kept too, or it would be searched for through a whole day of that.
DELETE = """
WITH page AS MATERIALIZED (
    SELECT {columns} FROM events.{table}
    WHERE {day} > %(low)s AND {day} < %(high)s AND ({key}) > ({after})
    ORDER BY {key} LIMIT %(limit)s
), gone AS (
    DELETE FROM events.{table} AS t USING page
    WHERE NOT page.tenant_id = ANY(%(kept)s::uuid[])
        AND {same} AND t.{day} > %(low)s AND t.{day} < %(high)s
)
SELECT {texts} FROM page ORDER BY {key} DESC LIMIT 1
"""
LATE = """
DELETE FROM events.unpartitioned_log WHERE event_id = ANY(ARRAY(
    SELECT event_id FROM events.unpartitioned_log
    WHERE recorded_at < now() - make_interval(days => %(days)s) AND {whose} LIMIT %(limit)s))
"""
# Those of accounts themselves have the account in the place of the tenant.
OWNED = """(tenant_id = ANY(%(accounts)s::uuid[]) OR tenant_id IN (
    SELECT tenant_id FROM events.tenant_accounts WHERE account_id = ANY(%(accounts)s::uuid[])))"""


class PartitionedTable(NamedTuple):
    """key: its primary key. day: the partition key. before: whether its rows are dropped a day
    later."""

    name: str
    key: Sequence[str]
    day: str
    before: bool = False

    @property
    def delete(self) -> str:
        kinds = ["text" if one == "tag" else "uuid" for one in self.key]
        return DELETE.format(
            table=self.name,
            key=", ".join(self.key),
            columns=", ".join(dict.fromkeys((*self.key, "tenant_id"))),
            day=self.day,
            after=", ".join(
                f"%({one})s::{kind}" for one, kind in zip(self.key, kinds, strict=True)
            ),
            same=" AND ".join(f"t.{one} = page.{one}" for one in self.key),
            texts=", ".join(f"{one}::text" for one in self.key),
        )


TABLES = (
    PartitionedTable("log", ("subject_id", "event_id"), "subject_id"),
    PartitionedTable("state", ("email_id", "subject_id"), "subject_id"),
    PartitionedTable("emails", ("tenant_id", "email_id"), "email_id", before=True),
    PartitionedTable("tags", ("tenant_id", "tag", "email_id"), "email_id", before=True),
    PartitionedTable("engagement", ("subject_id",), "subject_id", before=True),
)
FIRST = "00000000-0000-0000-0000-000000000000"


class ExpiredMailStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def days(self) -> set[date]:
        """Those that were reduced."""
        async with self._database.transaction() as tx:
            return {day for (day,) in await tx.rows("SELECT day FROM events.kept_days")}

    async def reduce(self, day: date, accounts: Collection[str]) -> None:
        """Leave the mail of these accounts alone; nothing if that was done."""
        wanted = sorted(accounts)
        async with self._database.transaction() as tx:
            if await tx.rows(DONE, (day, wanted)):
                return
            [(tenants,)] = await tx.rows(TENANTS, (wanted,))
        for table in TABLES:
            await self._delete(table, day - timedelta(days=table.before), tenants)
        async with self._database.transaction() as tx:
            await tx.execute(MARK, (day, wanted))

    async def _delete(self, table: PartitionedTable, day: date, tenants: Sequence[str]) -> None:
        low, high = id_bounds(day)
        after = {one: "" if one == "tag" else FIRST for one in table.key}
        given = {"low": low, "high": high, "kept": list(tenants), "limit": PAGE}
        while True:
            async with self._database.transaction() as tx:
                last = await tx.rows(table.delete, {**given, **after})
            if not last:
                return
            after = dict(zip(table.key, last[0], strict=True))

    async def delete_late(self, days: int, longer: Mapping[str, int]) -> None:
        """Events beside the days, by the time of their recording."""
        await self._delete_late(days, f"NOT {OWNED}", list(longer))
        for kept in sorted(set(longer.values())):
            accounts = [one for one, number in longer.items() if number == kept]
            await self._delete_late(kept, OWNED, accounts)

    async def _delete_late(self, days: int, whose: str, accounts: Sequence[str]) -> None:
        deleted = PAGE
        while deleted == PAGE:
            async with self._database.transaction() as tx:
                given = {"days": days, "accounts": accounts, "limit": PAGE}
                deleted = await tx.execute(LATE.format(whose=whose), given)


async def forget(tx: Transaction, day: date) -> None:
    """The day was dropped."""
    await tx.execute(FORGET, (day,))
