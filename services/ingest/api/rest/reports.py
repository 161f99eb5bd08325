"""/v1/reports: saved reports."""

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.reports import CreateReportRequest, ReportResource, to_json
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
)

decode = msgspec.json.Decoder(CreateReportRequest).decode


def routes(access: RestAccess, reports: ReportResource) -> APIRouter:
    router = APIRouter(prefix="/v1/reports", tags=["reports"], responses=PROBLEM_RESPONSES)

    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreateReportRequest, "What to report, and when"),
        summary="Save a report",
    )
    async def create(incoming: Incoming) -> Response:
        """The figures of each day, week (from Monday) or month in a time zone, ten minutes after
        its end; the first is the one in which the report is created. Without `X-Tenant-Id`, those
        of all tenants of an account."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode)
        return json_response(to_json(await reports.create(caller, given)), 201)

    @router.get("", summary="List saved reports")
    async def list_reports(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        """Newest first; without `X-Tenant-Id`, those of an account and all its tenants."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await reports.page(caller, page_of(requested_page))
        return list_response(map(to_json, found), has_more=has_more)

    @router.get("/{report_id}", summary="Get a saved report")
    async def get(incoming: Incoming, report_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return json_response(to_json(await reports.get(caller, report_id)))

    @router.delete("/{report_id}", summary="Delete a saved report")
    async def delete(incoming: Incoming, report_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return deleted_response("report", await reports.delete(caller, report_id))

    return router
