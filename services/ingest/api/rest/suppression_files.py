"""/v1/suppressions/export and /v1/suppressions/imports: suppressions as CSV."""

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming
from fastapi.responses import StreamingResponse

from services.ingest.api.http import pass_body
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    Limit,
    RequestedPage,
    RestAccess,
    check_no_key,
    deleted_response,
    json_response,
    list_response,
    page_of,
    request_of,
)
from services.ingest.api.suppression_files import (
    FILE_BYTES_MAX,
    UPLOAD_BYTES,
    SuppressionFileResource,
    failure_to_json,
    import_to_json,
)

CSV = "text/csv"
CSV_UTF8 = f"{CSV}; charset=utf-8"
FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Up to 1,000,000 addresses, 100 MB; in UTF-8, as RFC 4180 describes CSV",
        "content": {
            CSV: {
                "schema": {"type": "string", "format": "suppressions"},
                "example": "email,origin\nann@example.net,manual\nbob@example.net,bounce\n",
            }
        },
    }
}
ScopeOfFile: TypeAlias = Annotated[
    Literal["tenant", "account"],
    Query(description="`account`: for all tenants, with the key of an account"),
]
After = Annotated[int, Query(ge=0, le=2**31 - 1, description="Number of a line of the file")]


def routes(access: RestAccess, files: SuppressionFileResource) -> APIRouter:
    router = APIRouter(
        prefix="/v1/suppressions", tags=["suppressions"], responses=PROBLEM_RESPONSES
    )
    _add_transfers(router, access, files)
    _add_imports(router, access, files)
    return router


def _add_transfers(router: APIRouter, access: RestAccess, files: SuppressionFileResource) -> None:
    @router.get("/export", summary="Export all suppressions as CSV")
    async def export(incoming: Incoming) -> Response:
        """Newest first; without `X-Tenant-Id`, those that hold for all tenants of an account. An
        apostrophe before `= + - @` keeps spreadsheets from running a field as a formula; the import
        removes it."""
        caller = await access.authenticate_caller(incoming)
        return StreamingResponse(await files.export(caller), media_type=CSV_UTF8)

    @router.post(
        "/imports",
        status_code=202,
        openapi_extra=FILE_BODY,
        summary="Suppress the addresses of a CSV file",
    )
    async def create(incoming: Incoming, *, scope: ScopeOfFile = "tenant") -> Response:
        """The first line may name the columns: `email`, `origin`, `reason`, `list`, `note`,
        `expires_at`, `created_at`; without that they have this order. Only `email` is needed. Other
        columns are ignored. The addresses are suppressed after the response, in the order of the
        file; with `scope=account`, for all tenants of the account."""
        caller = await access.authenticate_caller(incoming)
        check_no_key(incoming)
        request = request_of(incoming)
        request.check_media_type(CSV, "CSV")
        if request.reservation is not None:
            request.reservation.resize(UPLOAD_BYTES)
        async with files.upload(caller, scope) as upload:
            await pass_body(request, incoming.receive, upload.feed, bytes_max=FILE_BYTES_MAX)
            created = import_to_json(await files.finish(caller, upload))
        return json_response(
            created, 202, {"location": f"/v1/suppressions/imports/{created['id']}"}
        )


def _add_imports(router: APIRouter, access: RestAccess, files: SuppressionFileResource) -> None:
    @router.get("/imports", summary="List imports of suppressions")
    async def list_imports(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        """Newest first; without `X-Tenant-Id`, those of an account and all its tenants. They are
        kept for 30 days after they are complete."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await files.page(caller, page_of(requested_page))
        return list_response(map(import_to_json, found), has_more=has_more)

    @router.get("/imports/{import_id}", summary="Get an import of suppressions")
    async def get(incoming: Incoming, import_id: str) -> Response:
        """`status` is `queued`, `running` or `completed`. `existing` are addresses that were
        suppressed already, also by an earlier line of the file."""
        caller = await access.authenticate_caller(incoming)
        return json_response(import_to_json(await files.get(caller, import_id)))

    @router.delete("/imports/{import_id}", summary="Stop and delete an import of suppressions")
    async def delete(incoming: Incoming, import_id: str) -> Response:
        """What it has added stays suppressed; what is left is not added."""
        caller = await access.authenticate_caller(incoming)
        return deleted_response("suppression_import", await files.delete(caller, import_id))

    @router.get("/imports/{import_id}/results", summary="List the lines that were not added")
    async def results(
        incoming: Incoming, import_id: str, *, limit: Limit = 20, after: After = 0
    ) -> Response:
        """In the order of the file, each with the problem in words. With `Accept: text/csv`, all
        lines as CSV."""
        caller = await access.authenticate_caller(incoming)
        if CSV in request_of(incoming).header(b"accept"):
            lines = await files.failures_as_csv(caller, import_id)
            return StreamingResponse(lines, media_type=CSV_UTF8)
        found, has_more = await files.failures(caller, import_id, after=after, limit=limit)
        return list_response(map(failure_to_json, found), has_more=has_more)
