"""Exports: create one, show how far it is, download its file."""

import zlib
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1 import events_service_pb2 as pb
from kernel import clock, ids, times
from kernel.crypto import new_content_key, unseal
from kernel.database import Database
from kernel.rpc import Context, RequestError, check_text, map_errors, map_stream_errors
from services.events.api.requests import (
    not_found,
    owner_of,
    page_limit,
    parse_cursor,
    parse_resource_id,
    time_of,
)
from services.events.api.webhooks import WebhookDependencies
from services.events.domain.export import KEPT, Export, ExportFormat, ExportKind
from services.events.domain.log_event import STATUSES
from services.events.domain.search_columns import SEARCHED_TYPES, TYPE_NUMBERS
from services.events.store.exports import ExportLimits, ExportStore, PageBounds

KINDS, FORMATS = {*ExportKind}, {*ExportFormat}
CHUNK_BYTES = 256 * 1024
# Whatever is recorded before the export began is committed by then.
SETTLE = timedelta(seconds=5)
LIMITS = ExportLimits(unfinished_max=5, kept_max=50)
TEXTS = ("to", "domain", "tag", "site", "bounce_class", "message_id", "status")
ONLY_EVENTS = ("types", "site", "bounce_class", "message_id")
IN_LOWER_CASE = ("to", "domain", "site", "bounce_class")


class ExportRpcs:
    tenant_database: Database
    webhooks: WebhookDependencies

    @map_errors
    async def CreateExport(  # noqa: N802
        self, request: pb.CreateExportRequest, _: Context
    ) -> pb.CreateExportResponse:
        """Of what is there when it is created: what comes later is not in the file."""
        now = clock.now()
        tenant_id = owner_of(request).tenant_id
        export_filter = filter_of(request)
        until = (
            times.clamp_timestamp(export_filter.until) if request.filter.HasField("until") else now
        )
        if until >= now:
            until = now
            export_filter.until.FromDatetime(now)
        if request.kind not in KINDS or request.format not in FORMATS:
            raise RequestError("unknown kind or format")
        new = Export(
            ids.uuid7_text(),
            parse_resource_id(request.account_id, "account_id"),
            tenant_id or "",
            request.test_only,
            ExportKind(request.kind),
            ExportFormat(request.format),
            export_filter,
            now,
        )
        key = self.webhooks.secrets.encrypt(new_content_key())
        store = ExportStore(self.tenant_database)
        created = await store.insert(new, key=key, turn_at=until + SETTLE, limits=LIMITS)
        return pb.CreateExportResponse(export=created and to_proto(created))

    @map_errors
    async def ListExports(  # noqa: N802
        self, request: pb.ListExportsRequest, _: Context
    ) -> pb.ListExportsResponse:
        size = page_limit(request)
        cursors = PageBounds(
            parse_cursor(request.after, "after"), parse_cursor(request.before, "before")
        )
        found = await ExportStore(self.tenant_database).page(
            owner_of(request), test_only=request.test_only, limit=size + 1, cursors=cursors
        )
        page = found[-size:] if request.before else found[:size]
        return pb.ListExportsResponse(exports=map(to_proto, page), has_more=len(found) > size)

    @map_errors
    async def GetExport(  # noqa: N802
        self, request: pb.GetExportRequest, _: Context
    ) -> pb.GetExportResponse:
        return pb.GetExportResponse(export=to_proto(await self._find(request)))

    @map_errors
    async def DeleteExport(  # noqa: N802
        self, request: pb.DeleteExportRequest, _: Context
    ) -> pb.DeleteExportResponse:
        found = await self._find(request)
        if not await ExportStore(self.tenant_database).delete(owner_of(request), found.id):
            raise not_found("export")
        return pb.DeleteExportResponse(id=found.id)

    @map_stream_errors
    async def DownloadExport(  # noqa: N802
        self, request: pb.DownloadExportRequest, _: Context
    ) -> AsyncIterator[pb.DownloadExportResponse]:
        """The file of a complete export. The first response may be empty."""
        found, owner = await self._find(request), owner_of(request)
        if found.status != "completed":
            detail = f"the export is {found.status}, and has no file"
            raise RequestError(detail, grpc.StatusCode.FAILED_PRECONDITION)
        yield pb.DownloadExportResponse(content=found.head)
        store = ExportStore(self.tenant_database)
        for number in range(found.parts):
            try:
                key, body = await store.part(owner, found.id, number=number)
            except LookupError:
                raise not_found("export") from None
            opened = unseal(self.webhooks.secrets.decrypt(key), body, found.associated(number))
            lines = zlib.decompress(opened)
            for start in range(0, len(lines), CHUNK_BYTES):
                yield pb.DownloadExportResponse(content=lines[start : start + CHUNK_BYTES])

    async def _find(
        self,
        request: pb.GetExportRequest | pb.DeleteExportRequest | pb.DownloadExportRequest,
    ) -> Export:
        """Raises RequestError."""
        export_id = parse_resource_id(request.id, "export")
        store = ExportStore(self.tenant_database)
        found = await store.page(
            owner_of(request), test_only=request.test_only, limit=1, cursors=PageBounds(),
            only=export_id,
        )  # fmt: skip
        if not found:
            raise not_found("export")
        return found[0]


def filter_of(request: pb.CreateExportRequest) -> pb.ExportFilter:
    """Raises RequestError."""
    found = pb.ExportFilter()
    found.CopyFrom(request.filter)
    for name in TEXTS:
        text = check_text(getattr(found, name), name).strip()
        setattr(found, name, text.lower() if name in IN_LOWER_CASE else text)
    unusable = ("status",) if request.kind == ExportKind.EVENTS else ONLY_EVENTS
    for name in unusable:
        if getattr(found, name):
            shown = name.removesuffix("s") if name == "types" else name
            detail = f"{request.kind} have no filter {shown}. Leave it out."
            raise RequestError(detail, field=f"filter/{shown}")
    _check_known(found)
    since, until = time_of(found, "since"), time_of(found, "until")
    if since and since >= (until or clock.now()):
        raise RequestError("since must be before until, and before now", field="filter/since")
    return found


def _check_known(given: pb.ExportFilter) -> None:
    """Raises RequestError."""
    if unknown := sorted(set(given.types) - TYPE_NUMBERS.keys()):
        detail = f"unknown type {unknown[0][:80]!r}. Use one of {', '.join(SEARCHED_TYPES)}."
        raise RequestError(detail, field="filter/type")
    if given.status and given.status not in STATUSES:
        detail = f"unknown status {given.status[:80]!r}. Use one of {', '.join(sorted(STATUSES))}."
        raise RequestError(detail, field="filter/status")


def to_proto(export: Export) -> pb.Export:
    expires_at = export.finished_at and export.finished_at + KEPT
    shown = pb.Export(
        id=export.id, tenant_id=export.tenant_id, kind=export.kind, format=export.format,
        filter=export.filter, status=export.status, rows=export.rows,
        bytes=export.octets + len(export.head), truncated=export.truncated,
        failure=export.failure,
    )  # fmt: skip
    moments = {
        "reached_at": export.reached_at, "created_at": export.created_at,
        "completed_at": export.finished_at, "expires_at": expires_at,
    }  # fmt: skip
    for name, moment in moments.items():
        if moment is not None:
            stamp: Timestamp = getattr(shown, name)
            stamp.FromDatetime(moment)
    return shown
