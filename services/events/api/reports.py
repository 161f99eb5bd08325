"""Saved reports: create, list and delete them."""

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1 import events_service_pb2 as pb
from kernel import clock, ids
from kernel.database import Database
from kernel.rpc import Context, RequestError, check_text, map_errors
from services.events.api.requests import (
    not_found,
    owner_of,
    page_limit,
    parse_cursor,
    parse_resource_id,
)
from services.events.domain.figures.periods import InvalidPeriod
from services.events.domain.figures.query import InvalidQuery
from services.events.domain.report import GRANULARITIES, ScheduledReport, end_of_current
from services.events.store.exports import PageBounds
from services.events.store.metrics import check_request
from services.events.store.reports import ReportStore

REPORTS_MAX = 20  # of an owner


class ReportRpcs:
    """sends_mail: whether this installation has a sender for its own mail."""

    tenant_database: Database
    sends_mail: bool

    @map_errors
    async def CreateReport(  # noqa: N802
        self, request: pb.CreateReportRequest, _: Context
    ) -> pb.CreateReportResponse:
        """The first one is about the period in which it is created."""
        owner = owner_of(request)
        new = self._new_report(request, owner.tenant_id or "")
        created = await ReportStore(self.tenant_database).insert(new, most=REPORTS_MAX)
        return pb.CreateReportResponse(report=created and to_proto(created))

    def _new_report(self, request: pb.CreateReportRequest, tenant_id: str) -> ScheduledReport:
        """Raises RequestError."""
        if request.frequency not in GRANULARITIES:
            detail = f"unknown frequency. Use one of {', '.join(GRANULARITIES)}."
            raise RequestError(detail, field="frequency")
        if request.email and not self.sends_mail:
            detail = "this installation sends no mail of its own. Use webhook."
            raise RequestError(detail, field="deliver")
        now, timezone = clock.now(), request.timezone or "UTC"
        query = pb.GetMetricsRequest()
        query.CopyFrom(request.query)
        try:
            end = end_of_current(now, request.frequency, timezone)
        except InvalidPeriod as error:
            raise RequestError(str(error), field="timezone") from None
        new = ScheduledReport(
            ids.uuid7_text(), parse_resource_id(request.account_id, "account_id"), tenant_id,
            check_text(request.name, "name"), query, request.frequency, timezone,
            request.webhook, request.email, now, end,
        )  # fmt: skip
        try:
            check_request(new.request(), end)
        except (InvalidPeriod, InvalidQuery) as error:
            raise RequestError(str(error), field=f"query/{error.field}") from None
        return new

    @map_errors
    async def ListReports(  # noqa: N802
        self, request: pb.ListReportsRequest, _: Context
    ) -> pb.ListReportsResponse:
        size = page_limit(request)
        cursors = PageBounds(
            parse_cursor(request.after, "after"), parse_cursor(request.before, "before")
        )
        found = await ReportStore(self.tenant_database).page(
            owner_of(request), limit=size + 1, cursors=cursors
        )
        page = found[-size:] if request.before else found[:size]
        return pb.ListReportsResponse(reports=map(to_proto, page), has_more=len(found) > size)

    @map_errors
    async def GetReport(  # noqa: N802
        self, request: pb.GetReportRequest, _: Context
    ) -> pb.GetReportResponse:
        report_id = parse_resource_id(request.id, "report")
        found = await ReportStore(self.tenant_database).page(
            owner_of(request), limit=1, cursors=PageBounds(), only=report_id
        )
        if not found:
            raise not_found("report")
        return pb.GetReportResponse(report=to_proto(found[0]))

    @map_errors
    async def DeleteReport(  # noqa: N802
        self, request: pb.DeleteReportRequest, _: Context
    ) -> pb.DeleteReportResponse:
        report_id = parse_resource_id(request.id, "report")
        if not await ReportStore(self.tenant_database).delete(owner_of(request), report_id):
            raise not_found("report")
        return pb.DeleteReportResponse(id=report_id)


def to_proto(report: ScheduledReport) -> pb.Report:
    shown = pb.Report(
        id=report.id, tenant_id=report.tenant_id, name=report.name, query=report.query,
        frequency=report.frequency, timezone=report.timezone, webhook=report.webhook,
        email=report.email,
    )  # fmt: skip
    moments = {
        "created_at": report.created_at, "next_at": report.next_end, "last_at": report.last_end,
    }  # fmt: skip
    for name, moment in moments.items():
        if moment is not None:
            stamp: Timestamp = getattr(shown, name)
            stamp.FromDatetime(moment)
    return shown
