"""Files of suppressions, for REST and gRPC: uploads, the imports that add their lines, exports."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Literal
from uuid import UUID

from google.protobuf.json_format import ParseDict

from contracts.ingest.v1 import suppression_service_pb2 as pb
from contracts.router.v1.router_service_pb2 import ListSuppressionsRequest
from kernel.crypto import SecretKeyring, new_content_key
from kernel.csv_rows import write_rows
from kernel.errors import Unavailable
from kernel.ids import creation_time_of, uuid7_text
from services.ingest.api.access import AccessControl
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.directory import check_page, parse_id, query_or_503
from services.ingest.api.callers import Caller, check_live
from services.ingest.api.http import check_size
from services.ingest.api.rest_base import format_time
from services.ingest.api.suppressions import Scope, owner_by_scope, to_json
from services.ingest.clients import ServiceClients
from services.ingest.domain.csv_records import CsvError
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Fault, Problem, invalid, not_found, unavailable
from services.ingest.domain.suppression_file import (
    COLUMNS,
    FAILURE_COLUMNS,
    FailedLine,
    SuppressionFileLine,
    SuppressionFileReader,
)
from services.ingest.store.audit_log import AuditSubject
from services.ingest.store.directory_lists import EntryOwner, PageBounds
from services.ingest.store.suppression_imports import (
    ImportId,
    SuppressionImport,
    SuppressionImportStore,
)

FILE_BYTES_MAX = 100 * 1024 * 1024
UPLOAD_S = 300.0  # as for every request
SLICE_BYTES = 64 * 1024  # is parsed at a time: some milliseconds
PART_LINES, PART_CHARS = 1_000, 512 * 1024  # one statement of the router, one row here
UPLOAD_BYTES = 4 * PART_CHARS  # memory of an upload
INCOMPLETE_MAX = 5
PAGE = 1_000  # rows of an export that are read at a time
WHAT = "the import"
RESOURCE = "suppression_import"  # in the audit log


class FileScope(RequestModel):
    """Whose suppressions a file has."""

    scope: Literal["tenant", "account"] = "tenant"


class SuppressionFileResource:
    """Those of a tenant, and those of an account. They exist for live mail only: a test key is
    refused with Problem 403."""

    def __init__(
        self,
        clients: ServiceClients,
        store: SuppressionImportStore,
        audit_log: AuditLogResource,
        *,
        secrets: SecretKeyring,
        access: AccessControl,
    ) -> None:
        self._router = clients.router
        self._store = store
        self._audit_log = audit_log
        self._secrets = secrets
        self._access = access

    @asynccontextmanager
    async def upload(self, caller: Caller, scope: Scope) -> AsyncIterator["SuppressionUpload"]:
        """A file that arrives in this block; what has arrived is deleted if it fails. Raises
        Problem."""
        check_live(caller.key, "suppressions")
        new = ImportId(uuid7_text(), *owner_by_scope(caller, scope))
        own = None if new.tenant_id else self._secrets.encrypt(new_content_key())
        begun = self._store.begin(new, sealed_key=own, incomplete_max=INCOMPLETE_MAX)
        if not await query_or_503(begun):
            whose = "tenant" if new.tenant_id else "account"
            detail = f"{INCOMPLETE_MAX} imports of this {whose} are in progress. Wait for one."
            raise Problem(429, "rate_limit_exceeded", detail=detail, retry_after_s=30)
        try:
            async with asyncio.timeout(UPLOAD_S):
                yield SuppressionUpload(self._store, new, key=await self._key(caller, new, own))
        except BaseException as error:
            with suppress(Unavailable):  # then the retention deletes it
                await self._store.delete(new)
            if isinstance(error, TimeoutError):
                detail = f"The file did not arrive within {UPLOAD_S:.0f} s."
                raise Problem(408, "request_timeout", detail=detail) from None
            if isinstance(error, Unavailable):
                raise unavailable() from error
            raise

    async def finish(self, caller: Caller, upload: "SuppressionUpload") -> SuppressionImport:
        """The import, durable; one for a whole account is in the audit log. Raises Problem,
        Unavailable."""
        found = await upload.finish()
        if not found.tenant_id:
            await self._audit_log.record(caller, (subject_of(found), None, import_to_proto(found)))
        return found

    async def page(self, caller: Caller, page: PageBounds) -> tuple[list[SuppressionImport], bool]:
        """A page of imports, newest first, and whether more follows."""
        check_live(caller.key, "suppressions")
        return await query_or_503(self._store.page(caller.owner, check_page(page)))

    async def get(self, caller: Caller, import_id: str) -> SuppressionImport:
        """Raises Problem 404."""
        check_live(caller.key, "suppressions")
        found = await query_or_503(self._store.find(caller.owner, parse_id(import_id, WHAT)))
        if found is None:
            raise not_found(WHAT)
        return found

    async def delete(self, caller: Caller, import_id: str) -> str:
        """The id. Stops the import; what it has added stays. Raises Problem 404."""
        found = await self.get(caller, import_id)
        if not await query_or_503(self._store.delete(found.of)):
            raise not_found(WHAT)
        if not found.tenant_id:
            await self._audit_log.record(caller, (subject_of(found), import_to_proto(found), None))
        return found.import_id

    async def failures(
        self, caller: Caller, import_id: str, *, after: int, limit: int
    ) -> tuple[list[FailedLine], bool]:
        """The next lines of a file that were not added, and whether more follow. Raises Problem
        404."""
        found = await self._failures(caller, import_id, after)
        listed = await query_or_503(first_of(found, limit + 1))
        return listed[:limit], len(listed) > limit

    async def _failures(
        self, caller: Caller, import_id: str, after: int = 0
    ) -> AsyncIterator[list[FailedLine]]:
        found = await self.get(caller, import_id)
        key = await self._key(caller, found.of, found.key)
        return self._store.failures(found.of, key, after=after)

    async def failures_as_csv(self, caller: Caller, import_id: str) -> AsyncIterator[bytes]:
        """All lines of a file that were not added. Raises Problem 404."""
        found = await self._failures(caller, import_id)

        async def written() -> AsyncIterator[bytes]:
            yield write_rows([FAILURE_COLUMNS])
            async for some in found:
                yield write_rows((str(one.line), one.email, one.problem) for one in some)

        return written()

    async def _key(self, caller: Caller, of: ImportId, own: bytes | None) -> bytes:
        """own: the import's, encrypted. Raises Problem 404."""
        if own is not None:
            return self._secrets.decrypt(own)
        principal = await self._access.principal_of(caller, of.tenant_id, WHAT)
        return self._access.content_key(principal)

    async def export(self, caller: Caller) -> AsyncIterator[bytes]:
        """All suppressions of the tenant as a file, newest first; without a tenant, those that hold
        for the whole account. Raises Problem before the first part."""
        check_live(caller.key, "suppressions")
        first, more = await self._suppressions(caller.owner, "")
        return self._export(caller.owner, first, more=more)

    async def _export(
        self, owner: EntryOwner, rows: Sequence[dict[str, object]], *, more: bool
    ) -> AsyncIterator[bytes]:
        yield write_rows([COLUMNS])
        while rows:
            yield write_rows([str(one[column] or "") for column in COLUMNS] for one in rows)
            after = str(rows[-1]["id"])
            rows, more = await self._suppressions(owner, after) if more else ([], False)

    async def _suppressions(
        self, owner: EntryOwner, after: str
    ) -> tuple[list[dict[str, object]], bool]:
        request = ListSuppressionsRequest(
            **owner._asdict(), limit=PAGE, after=after, account_wide=not owner.tenant_id
        )
        response = await self._router.call(self._router.stub.ListSuppressions, request)
        return [to_json(one) for one in response.suppressions], response.has_more


class SuppressionUpload:
    """A file that arrives; it is cut into parts, which are stored at once."""

    def __init__(self, store: SuppressionImportStore, new: ImportId, *, key: bytes) -> None:
        self._store = store
        self._new = new
        self._key = key
        self._file = SuppressionFileReader()
        self._octets = 0
        self._parts = 0
        self._lines: list[SuppressionFileLine] = []  # of the next part
        self._chars = 0

    async def feed(self, octets: bytes) -> None:
        """Raises Problem, Unavailable."""
        self._octets += len(octets)
        check_size(self._octets, FILE_BYTES_MAX)
        for start in range(0, len(octets), SLICE_BYTES):
            with csv_problems():
                lines = self._file.feed(octets[start : start + SLICE_BYTES])
            await self._add(lines)
            await asyncio.sleep(0)  # other requests

    async def finish(self) -> SuppressionImport:
        """The import, durable. Raises Problem, Unavailable."""
        with csv_problems():
            lines = self._file.close()
        await self._add(lines)
        await self._store_part()
        return await self._store.finish(
            self._new, lines=self._file.lines, ignored_columns=self._file.ignored_columns
        )

    async def _add(self, lines: Sequence[SuppressionFileLine]) -> None:
        for line in lines:
            self._lines.append(line)
            self._chars += sum(map(len, line.values))
            if len(self._lines) == PART_LINES or self._chars > PART_CHARS:
                await self._store_part()

    async def _store_part(self) -> None:
        if self._lines:
            await self._store.add_part(self._new, self._parts, self._lines, key=self._key)
            self._parts += 1
            self._lines, self._chars = [], 0


@contextmanager
def csv_problems() -> Iterator[None]:
    """Raise Problem for CsvError, with a pointer to the line."""
    try:
        yield
    except CsvError as error:
        raise invalid([Fault(f"#/lines/{error.line}", "invalid_csv", str(error))]) from None


async def first_of(found: AsyncIterator[list[FailedLine]], count: int) -> list[FailedLine]:
    listed: list[FailedLine] = []
    async for some in found:
        listed += some
        if len(listed) >= count:
            break
    return listed[:count]


def subject_of(one: SuppressionImport) -> AuditSubject:
    return AuditSubject(RESOURCE, one.import_id, one.account_id, one.tenant_id)


def status_of(one: SuppressionImport) -> str:
    if one.completed_at is not None:
        return "completed"
    return "running" if one.added or one.existing or one.failed else "queued"


def import_to_json(one: SuppressionImport) -> dict[str, object]:
    return {
        "object": "suppression_import",
        "id": one.import_id,
        "tenant_id": one.tenant_id or None,
        "scope": "tenant" if one.tenant_id else "account",
        "status": status_of(one),
        "lines": one.lines,
        "added": one.added,
        "existing": one.existing,
        "failed": one.failed,
        "ignored_columns": one.ignored_columns,
        "created_at": format_time(creation_time_of(UUID(one.import_id))),
        "completed_at": one.completed_at and format_time(one.completed_at),
    }


def import_to_proto(one: SuppressionImport) -> pb.SuppressionImport:
    return ParseDict(import_to_json(one), pb.SuppressionImport(), ignore_unknown_fields=True)


def failure_to_json(one: FailedLine) -> dict[str, object]:
    return {"line": one.line, "email": one.email, "problem": one.problem}
