"""Exports: files in sealed parts, which the holder of the lease writes page by page."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from contracts.events.v1.events_service_pb2 import ExportFilter
from kernel.database import Database, Row, RowOwner, Transaction
from kernel.ids import MAX, NIL, creation_time_of
from kernel.lease import Lease
from services.events.domain.export import KEPT, Export, ExportFormat, ExportKind

COLUMNS = (
    "id::text, account_id::text, coalesce(tenant_id::text, ''), test, kind, format, filter,"
    " row_count, octets, part_count, truncated, reached_at, failure, finished_at"
)
WIDTH = COLUMNS.count(",")  # one of them is in coalesce
LOCK_ACCOUNT = "SELECT pg_advisory_xact_lock(hashtextextended('events.exports/' || %s, 0))"
INSERT = f"""
INSERT INTO events.exports (id, account_id, tenant_id, test, kind, format, filter, key, turn_at)
SELECT %(id)s::uuid, %(account)s::uuid, nullif(%(tenant)s, '')::uuid, %(test)s, %(kind)s,
    %(format)s, %(filter)s::bytea, %(key)s::bytea, greatest(now(), %(turn_at)s)
WHERE (SELECT count(*) < %(kept_max)s
        AND count(*) FILTER (WHERE finished_at IS NULL) < %(unfinished_max)s
    FROM events.exports WHERE account_id = %(account)s AND deleted_at IS NULL)
RETURNING {COLUMNS}
"""  # noqa: S608 - constants only
PAGE = f"""
SELECT {COLUMNS} FROM events.exports
WHERE {{column}} = %(owner)s AND deleted_at IS NULL AND test >= %(test_only)s
    AND id > %(low)s AND id < %(high)s {{only}} ORDER BY id {{order}} LIMIT %(limit)s
"""  # noqa: S608 - constants only
DELETE = """
UPDATE events.exports SET deleted_at = now(), key = NULL
WHERE id = %s AND deleted_at IS NULL
"""
PART = """
SELECT e.key, p.body FROM events.exports AS e JOIN events.export_parts AS p ON p.export_id = e.id
WHERE e.id = %s AND e.deleted_at IS NULL AND p.number = %s
"""

# Exports take turns, page by page.
NEXT = f"""
SELECT {COLUMNS}, key, coalesce(next::text, ''), tries FROM events.exports
WHERE finished_at IS NULL AND deleted_at IS NULL AND turn_at <= now() ORDER BY turn_at LIMIT 1
"""  # noqa: S608 - constants only
SAVE = """
UPDATE events.exports SET next = nullif(%(next)s, '')::uuid, row_count = row_count + %(rows)s,
    octets = octets + %(octets)s, part_count = part_count + %(parts)s, turn_at = now(), tries = 0,
    reached_at = coalesce(%(reached_at)s, reached_at, now()), truncated = %(truncated)s,
    finished_at = CASE WHEN %(is_last)s THEN now() END
WHERE id = %(id)s AND coalesce(next::text, '') = %(after)s AND part_count = %(number)s
    AND finished_at IS NULL AND deleted_at IS NULL
"""
ADD_PART = """
INSERT INTO events.export_parts (export_id, number, account_id, tenant_id, body)
VALUES (%(id)s, %(number)s, %(account)s, nullif(%(tenant)s, '')::uuid, %(body)s)
"""
POSTPONE = """
UPDATE events.exports SET tries = tries + 1, turn_at = now() + make_interval(secs => %(delay_s)s),
    failure = %(failure)s, finished_at = CASE WHEN %(failure)s <> '' THEN now() END
WHERE id = %(id)s AND finished_at IS NULL
"""
EXPIRE = """
UPDATE events.exports SET deleted_at = now(), key = NULL WHERE id = ANY(ARRAY(
    SELECT id FROM events.exports
    WHERE finished_at < now() - %(kept)s AND deleted_at IS NULL LIMIT %(limit)s))
"""
DELETE_PARTS = """
DELETE FROM events.export_parts AS gone USING (
    SELECT p.export_id, p.number FROM events.exports AS e CROSS JOIN LATERAL (
        SELECT export_id, number FROM events.export_parts WHERE export_id = e.id LIMIT %(limit)s
    ) AS p WHERE e.deleted_at IS NOT NULL LIMIT %(limit)s
) AS p WHERE gone.export_id = p.export_id AND gone.number = p.number
"""
DELETE_EMPTY = """
DELETE FROM events.exports WHERE id = ANY(ARRAY(
    SELECT id FROM events.exports AS e WHERE deleted_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM events.export_parts WHERE export_id = e.id) LIMIT %(limit)s))
"""
DELETED_AT_ONCE = 200
DELETE_OF_TENANTS = """
UPDATE events.exports SET deleted_at = now(), key = NULL
WHERE tenant_id = ANY(%s::uuid[]) AND deleted_at IS NULL
"""
# Files cannot be searched, so all go that may have mail of the tenant.
DELETE_WITH_MAIL = """
UPDATE events.exports SET deleted_at = now(), key = NULL
WHERE deleted_at IS NULL AND (tenant_id = %(tenant)s OR tenant_id IS NULL AND account_id = (
    SELECT account_id FROM events.tenant_accounts WHERE tenant_id = %(tenant)s))
"""


async def delete_of_tenants(tx: Transaction, tenant_ids: Sequence[str]) -> None:
    await tx.execute(DELETE_OF_TENANTS, (list(tenant_ids),))


async def delete_with_mail_of(tx: Transaction, tenant_id: str) -> None:
    """Files of the tenant, and those of its account that have the mail of all tenants."""
    await tx.execute(DELETE_WITH_MAIL, {"tenant": tenant_id})


class ExportLimits(NamedTuple):
    """Of an account: exports that are not complete, and all."""

    unfinished_max: int
    kept_max: int


class PageBounds(NamedTuple):
    """Of a page: the id after which it begins, or before which it ends."""

    after: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True)
class DueExport:
    """An export whose next page is to be written. key: encrypted. after: where the page begins.
    tries: without success."""

    export: Export
    key: bytes
    after: str
    tries: int


@dataclass(frozen=True, slots=True)
class SealedExportPage:
    """body: sealed; empty without rows. octets: of the rows. next: where the next page begins."""

    rows: int
    octets: int
    body: bytes
    next: str
    reached_at: datetime | None
    is_last: bool
    truncated: bool = False


def export_of(row: Row) -> Export:
    export_id, account_id, tenant_id, test, kind, form, given, *progress = row[:WIDTH]
    rows, octets, parts, truncated, reached_at, failure, finished_at = progress
    return Export(
        export_id, account_id, tenant_id, test, ExportKind(kind), ExportFormat(form),
        ExportFilter.FromString(given), creation_time_of(UUID(export_id)), rows, octets, parts,
        truncated=truncated, reached_at=reached_at, failure=failure, finished_at=finished_at,
    )  # fmt: skip


class ExportStore:
    """What a tenant or an account sees of its exports. database: with the role that row-level
    security binds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(
        self, new: Export, *, key: bytes, turn_at: datetime, limits: ExportLimits
    ) -> Export | None:
        """None if the account is at a limit. key: encrypted."""
        values = {
            "id": new.id, "account": new.account_id, "tenant": new.tenant_id, "test": new.test,
            "kind": new.kind.value, "format": new.format.value,
            "filter": new.filter.SerializeToString(), "key": key, "turn_at": turn_at,
            **limits._asdict(),
        }  # fmt: skip
        # With the account, so that all its exports count.
        tenant_id = new.tenant_id or None
        async with self._database.transaction(tenant_id=tenant_id, account_id=new.account_id) as tx:
            await tx.rows(LOCK_ACCOUNT, (new.account_id,))
            rows = await tx.rows(INSERT, values)
        return export_of(rows[0]) if rows else None

    async def page(
        self, owner: RowOwner, *, test_only: bool, limit: int, cursors: PageBounds, only: str = ""
    ) -> list[Export]:
        """Newest first; with `before`, the nearest newer ones. only: the one with this id."""
        column = "tenant_id" if owner.tenant_id else "account_id"
        condition = "AND id = %(only)s" if only else ""
        order = "ASC" if cursors.before else "DESC"
        values = {
            "owner": owner.tenant_id or owner.account_id, "test_only": test_only, "limit": limit,
            "low": cursors.before or NIL, "high": cursors.after or MAX, "only": only or None,
        }  # fmt: skip
        async with self._transaction(owner) as tx:
            statement = PAGE.format(column=column, order=order, only=condition)
            found = [export_of(row) for row in await tx.rows(statement, values)]
        return found[::-1] if cursors.before else found

    async def delete(self, owner: RowOwner, export_id: str) -> bool:
        """Whether it existed. Its key is gone at once, its parts soon."""
        async with self._transaction(owner) as tx:
            return bool(await tx.execute(DELETE, (export_id,)))

    async def part(self, owner: RowOwner, export_id: str, *, number: int) -> tuple[bytes, bytes]:
        """The key, encrypted, and the body, sealed. Raises LookupError if it was deleted."""
        async with self._transaction(owner) as tx:
            rows = await tx.rows(PART, (export_id, number), binary=True)
        if not rows:
            raise LookupError(export_id)
        return bytes(rows[0][0]), bytes(rows[0][1])

    def _transaction(self, owner: RowOwner) -> AbstractAsyncContextManager[Transaction]:
        return self._database.transaction(**owner._asdict())


class ExportQueue:
    """The pages to write. Only the holder of the lease saves them."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def next_turn(self) -> DueExport | None:
        rows = await self._database.execute_autocommit(NEXT)
        if not rows:
            return None
        key, after, tries = rows[0][WIDTH:]
        return DueExport(export_of(rows[0]), bytes(key), after, tries)

    async def save(self, turn: DueExport, page: SealedExportPage) -> None:
        """Do nothing if the export was deleted. Raises Fenced."""
        export = turn.export
        values = {
            "id": export.id, "account": export.account_id, "tenant": export.tenant_id,
            "number": export.parts, "after": turn.after, "next": page.next, "rows": page.rows,
            "octets": page.octets, "parts": int(bool(page.body)), "reached_at": page.reached_at,
            "truncated": page.truncated, "is_last": page.is_last, "body": page.body,
        }  # fmt: skip
        async with self._lease.transaction() as tx:
            if await tx.execute(SAVE, values) and page.body:
                await tx.execute(ADD_PART, values)

    async def postpone(self, turn: DueExport, *, delay_s: float, failure: str = "") -> None:
        """With a failure, it is not tried again. Raises Fenced."""
        values = {"id": turn.export.id, "delay_s": delay_s, "failure": failure}
        async with self._lease.transaction() as tx:
            await tx.execute(POSTPONE, values)

    async def delete_some(self) -> bool:
        """Of exports that have expired or were deleted; whether there may be more. Raises
        Fenced."""
        values = {"kept": KEPT, "limit": DELETED_AT_ONCE}
        async with self._lease.transaction() as tx:
            counts: Sequence[int] = [
                await tx.execute(one, values) for one in (EXPIRE, DELETE_PARTS, DELETE_EMPTY)
            ]
        return DELETED_AT_ONCE in counts
