"""/v1/exports: files of events and emails."""

from contextlib import AsyncExitStack

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.ingest.api.exports import CreateExportRequest, ExportResource, to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
    request_of,
)

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}

decode = msgspec.json.Decoder(CreateExportRequest).decode


def routes(access: RestAccess, exports: ExportResource) -> APIRouter:
    router = APIRouter(prefix="/v1/exports", tags=["exports"], responses=PROBLEM_RESPONSES)
    _add_one(router, access, exports)
    _add_download(router, access, exports)
    return router


def _add_one(router: APIRouter, access: RestAccess, exports: ExportResource) -> None:
    @router.post(
        "",
        status_code=202,
        openapi_extra=body_schema(CreateExportRequest, "What to export"),
        summary="Export events or emails to a file",
    )
    async def create(incoming: Incoming) -> Response:
        """The file is written in the background, newest first, of what is there now. Without
        `X-Tenant-Id`, of all tenants of an account."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode)
        created = to_json(await exports.create(caller, given))
        return json_response(created, 202, {"location": f"/v1/exports/{created['id']}"})

    @router.get("", summary="List exports")
    async def list_exports(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        """Newest first; without `X-Tenant-Id`, those of an account and all its tenants."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await exports.page(caller, page_of(requested_page))
        return list_response(map(to_json, found), has_more=has_more)

    @router.get("/{export_id}", summary="Get an export, and how far it is")
    async def get(incoming: Incoming, export_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return json_response(to_json(await exports.get(caller, export_id)))

    @router.delete("/{export_id}", summary="Stop and delete an export")
    async def delete(incoming: Incoming, export_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return deleted_response("export", await exports.delete(caller, export_id))


def _add_download(router: APIRouter, access: RestAccess, exports: ExportResource) -> None:
    @router.get("/{export_id}/download", summary="Download the file of an export")
    async def download(incoming: Incoming, export_id: str) -> Response:
        """409 `conflict` until it is complete. For 24 hours from then on. In CSV, an apostrophe
        before `= + - @` keeps spreadsheets from running a field as a formula."""
        caller = await access.authenticate_caller(incoming)
        found = await exports.get(caller, export_id)
        exits = AsyncExitStack()
        parts = await exits.enter_async_context(exports.download(caller, export_id))
        name = f"{found.kind}-{found.id}.{found.format}"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        media_type = MEDIA_TYPES[found.format]
        if request_of(incoming).is_head:
            await exits.aclose()
            return Response(headers=headers, media_type=media_type)
        return FileResponse(exits, StreamingResponse(parts, headers=headers, media_type=media_type))


class FileResponse(Response):
    """Closes the download with the response, whatever ends it."""

    def __init__(self, exits: AsyncExitStack, streamed: StreamingResponse) -> None:
        super().__init__()
        self._exits = exits
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._exits:
            await self._streamed(scope, receive, send)
