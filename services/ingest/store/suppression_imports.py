"""Imports of suppressions: the lines of a file in sealed parts, and what became of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import NamedTuple

import msgspec

from kernel.crypto import seal, unseal
from kernel.database import Database, Transaction
from kernel.lease import Lease
from services.ingest.domain.suppression_file import FailedLine, SuppressionFileLine
from services.ingest.store.directory_lists import DirectoryLists, EntryOwner, PageBounds

RETENTION = "interval '30 days'"  # of imports that are complete, with their results
UPLOAD = "interval '1 hour'"  # an upload that has not ended by then never will
DELETED_AT_ONCE = 20  # imports, each with up to some thousand parts or results
RESULTS_AT_ONCE = 20  # rows of results, each with up to a thousand lines

BEGIN = """
INSERT INTO ingest.suppression_imports (id, account_id, tenant_id, key)
SELECT %(import_id)s::uuid, %(account_id)s::uuid, nullif(%(tenant_id)s, '')::uuid, %(sealed_key)s
WHERE %(most)s > (
    SELECT count(*) FROM (
        SELECT FROM ingest.suppression_imports
        WHERE coalesce(tenant_id, account_id) = %(owner_id)s AND completed_at IS NULL
        LIMIT %(most)s
    ) AS incomplete)
"""
ADD_PART = """
INSERT INTO ingest.suppression_import_parts
    (import_id, number, account_id, tenant_id, first_line, lines, body)
VALUES (%(import_id)s, %(number)s, %(account_id)s, nullif(%(tenant_id)s, '')::uuid,
    %(first_line)s, %(lines)s, %(body)s)
"""
COLUMNS = """
id::text, account_id::text, coalesce(tenant_id::text, ''), lines, added, existing, failed,
ignored_columns, completed_at, key
"""
FINISH = f"""
UPDATE ingest.suppression_imports SET lines = %(lines)s, ignored_columns = %(ignored)s,
    turn_at = now(), completed_at = CASE WHEN %(lines)s = 0 THEN now() END
WHERE id = %(import_id)s RETURNING {COLUMNS}
"""  # noqa: S608 - constants only
SELECT = f"SELECT {COLUMNS} FROM ingest.suppression_imports"  # noqa: S608 - constants only
ARRIVED = "lines IS NOT NULL"
DELETE = """
DELETE FROM ingest.suppression_imports
WHERE id = %(import_id)s AND coalesce(tenant_id, account_id) = %(owner_id)s
"""
RESULTS = """
SELECT line, body FROM ingest.suppression_import_results
WHERE import_id = %(import_id)s AND coalesce(tenant_id, account_id) = %(owner_id)s
    AND line > %(after)s
ORDER BY line LIMIT %(count)s
"""

# Imports take turns, part by part.
NEXT = """
SELECT i.id::text, i.account_id::text, coalesce(i.tenant_id::text, ''), i.key, i.tries, p.number,
    p.first_line, p.lines, p.body
FROM ingest.suppression_imports AS i CROSS JOIN LATERAL (
    SELECT * FROM ingest.suppression_import_parts WHERE import_id = i.id ORDER BY number LIMIT 1
) AS p
WHERE i.completed_at IS NULL AND i.lines IS NOT NULL AND i.turn_at <= now()
ORDER BY i.turn_at LIMIT 1
"""
LOCK = "SELECT FROM ingest.suppression_imports WHERE id = %s FOR UPDATE"
TAKE = "DELETE FROM ingest.suppression_import_parts WHERE import_id = %s AND number = %s"
ADD_RESULTS = """
INSERT INTO ingest.suppression_import_results (import_id, line, account_id, tenant_id, body)
VALUES (%(import_id)s, %(line)s, %(account_id)s, nullif(%(tenant_id)s, '')::uuid, %(body)s)
"""
COUNT = """
UPDATE ingest.suppression_imports SET added = added + %(added)s, existing = existing + %(existing)s,
    failed = failed + %(failed)s, turn_at = now(), tries = 0, completed_at = CASE WHEN NOT EXISTS (
        SELECT FROM ingest.suppression_import_parts WHERE import_id = %(import_id)s) THEN now() END
WHERE id = %(import_id)s
"""
POSTPONE = """
UPDATE ingest.suppression_imports SET tries = least(tries + 1, 1000),
    turn_at = now() + make_interval(secs => %s) WHERE id = %s
"""
EXPIRE = f"""
DELETE FROM ingest.suppression_imports WHERE id = ANY(ARRAY(
    SELECT id FROM ingest.suppression_imports
    WHERE completed_at < now() - {RETENTION} LIMIT %s))
"""  # noqa: S608 - constants only
EXPIRE_UPLOADS = f"""
DELETE FROM ingest.suppression_imports WHERE id = ANY(ARRAY(
    SELECT id FROM ingest.suppression_imports
    WHERE completed_at IS NULL AND lines IS NULL AND turn_at < now() - {UPLOAD}
    LIMIT %s))
"""  # noqa: S608 - constants only

encode = msgspec.msgpack.Encoder().encode
decode_lines = msgspec.msgpack.Decoder(list[SuppressionFileLine]).decode
decode_failures = msgspec.msgpack.Decoder(list[FailedLine]).decode


class ImportId(NamedTuple):
    """Of an import, and of its account and tenant. Without a tenant it is for the whole account."""

    import_id: str
    account_id: str
    tenant_id: str = ""

    @property
    def owner(self) -> EntryOwner:
        return EntryOwner(self.account_id, self.tenant_id)

    @property
    def params(self) -> dict[str, object]:
        return {**self._asdict(), "owner_id": self.tenant_id or self.account_id}

    def associated(self, kind: str, number: int) -> bytes:
        """Binds a sealed body to its row."""
        return f"{self.tenant_id or self.account_id} {self.import_id} {kind} {number}".encode()


class SuppressionImport(NamedTuple):
    """lines: addresses in the file. added, existing, failed: of those so far. key: encrypted, of
    an import for a whole account; others are sealed with the content key of their tenant."""

    import_id: str
    account_id: str
    tenant_id: str
    lines: int
    added: int
    existing: int
    failed: int
    ignored_columns: list[str]
    completed_at: datetime | None
    key: bytes | None = None

    @property
    def of(self) -> ImportId:
        return ImportId(self.import_id, self.account_id, self.tenant_id)


class ImportPart(NamedTuple):
    """A part whose lines are to be added. sealed_key: that of the import, if it has one. tries:
    without success. first_line: its number in the file."""

    of: ImportId
    sealed_key: bytes | None
    tries: int
    number: int
    first_line: int
    lines: int
    body: bytes

    def read(self, key: bytes) -> list[SuppressionFileLine]:
        """Raises SealBroken."""
        return decode_lines(unseal(key, self.body, self.of.associated("part", self.number)))


class ImportPartOutcome(NamedTuple):
    """What became of the lines of a part. failed: how many lines the failures stand for."""

    added: int
    existing: int
    failed: int
    failures: Sequence[FailedLine]


class SuppressionImportStore:
    """What a tenant or an account sees of its imports: those whose file has arrived. database: with
    the role that row-level security binds."""

    def __init__(self, database: Database, lists: DirectoryLists) -> None:
        self._database = database
        self._lists = lists

    async def begin(self, new: ImportId, *, sealed_key: bytes | None, incomplete_max: int) -> bool:
        """False if the owner has so many incomplete imports already. sealed_key: the import's own,
        encrypted."""
        params = {**new.params, "sealed_key": sealed_key, "most": incomplete_max}
        async with self._transaction(new) as tx:
            return bool(await tx.execute(BEGIN, params))

    async def add_part(
        self, new: ImportId, number: int, lines: Sequence[SuppressionFileLine], *, key: bytes
    ) -> None:
        body = seal(key, encode(lines), new.associated("part", number))
        size = {"first_line": lines[0].line, "lines": len(lines)}
        async with self._transaction(new) as tx:
            await tx.execute(ADD_PART, {**new.params, **size, "number": number, "body": body})

    async def finish(
        self, new: ImportId, *, lines: int, ignored_columns: Sequence[str]
    ) -> SuppressionImport:
        """The file has arrived."""
        params = {**new.params, "lines": lines, "ignored": list(ignored_columns)}
        async with self._transaction(new) as tx:
            [row] = await tx.rows(FINISH, params)
        return SuppressionImport(*row)

    async def page(
        self, owner: EntryOwner, page: PageBounds, *, import_id: str = ""
    ) -> tuple[list[SuppressionImport], bool]:
        """A page, newest first, and whether more follows. Without a tenant: of the account and all
        its tenants. import_id: only this one."""
        column = "tenant_id" if owner.tenant_id else "account_id"
        only = ["id = %(import_id)s"] if import_id else []
        rows, more = await self._lists.rows(
            SELECT,
            owner,
            page,
            conditions=[f"{column} = %({column})s", ARRIVED, *only],
            values={**owner._asdict(), "import_id": import_id},
        )
        return [SuppressionImport(*row) for row in rows], more

    async def find(self, owner: EntryOwner, import_id: str) -> SuppressionImport | None:
        found, _ = await self.page(owner, PageBounds(1), import_id=import_id)
        return found[0] if found else None

    async def delete(self, wanted: ImportId) -> bool:
        """Whether it existed. What is left of its lines is not added."""
        async with self._transaction(wanted) as tx:
            return bool(await tx.execute(DELETE, wanted.params))

    async def failures(
        self, wanted: ImportId, key: bytes, *, after: int
    ) -> AsyncIterator[list[FailedLine]]:
        """The lines after a line that were not added, in their order, in lists of up to a
        thousand."""
        start = after
        while True:
            params = {**wanted.params, "after": start, "count": RESULTS_AT_ONCE}
            async with self._transaction(wanted) as tx:
                rows = await tx.rows(RESULTS, params)
            for line, body in rows:
                opened = unseal(key, bytes(body), wanted.associated("results", line))
                yield [one for one in decode_failures(opened) if one.line > after]
            if len(rows) < RESULTS_AT_ONCE:
                return
            start = rows[-1][0]

    def _transaction(self, of: ImportId) -> AbstractAsyncContextManager[Transaction]:
        if of.tenant_id:
            return self._database.transaction(tenant_id=of.tenant_id)
        return self._database.transaction(account_id=of.account_id)


class ImportQueue:
    """The parts to add. Only the holder of the lease saves outcomes."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def next_part(self) -> ImportPart | None:
        """Of the import whose turn it is."""
        rows = await self._database.execute_autocommit(NEXT)
        if not rows:
            return None
        row = rows[0]
        return ImportPart(ImportId(*row[:3]), *row[3:])

    async def save(self, part: ImportPart, outcome: ImportPartOutcome, *, key: bytes) -> None:
        """Do nothing if the part is no longer there. Raises Fenced."""
        import_id = part.of.import_id
        async with self._lease.transaction() as tx:
            await tx.execute(LOCK, (import_id,))  # first, as in a deletion of the import
            if not await tx.execute(TAKE, (import_id, part.number)):
                return
            if outcome.failures:
                line = outcome.failures[-1].line
                body = seal(key, encode(outcome.failures), part.of.associated("results", line))
                await tx.execute(ADD_RESULTS, {**part.of.params, "line": line, "body": body})
            await tx.execute(COUNT, {**part.of.params, **outcome._asdict()})

    async def postpone(self, part: ImportPart, *, delay_s: float) -> None:
        """Raises Fenced."""
        async with self._lease.transaction() as tx:
            await tx.execute(POSTPONE, (delay_s, part.of.import_id))

    async def delete(self, wanted: ImportId) -> None:
        """Raises Fenced."""
        async with self._lease.transaction() as tx:
            await tx.execute(DELETE, wanted.params)
