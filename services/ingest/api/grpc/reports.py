"""contracts.ingest.v1.ReportService."""

from contracts.events.v1.events_service_pb2 import Report
from contracts.ingest.v1 import report_service_pb2 as pb
from contracts.ingest.v1.report_service_pb2_grpc import ReportServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context
from services.ingest.api.reports import CreateReportRequest, ReportResource, to_json


class ReportServicer(ReportServiceServicer):
    def __init__(self, access: RpcAccess, reports: ReportResource) -> None:
        self.access = access
        self._reports = reports

    @authenticated
    async def CreateReport(
        self, request: pb.CreateReportRequest, caller: Caller, _: Context
    ) -> pb.CreateReportResponse:
        given = given_fields(request, CreateReportRequest)
        return pb.CreateReportResponse(report=to_proto(await self._reports.create(caller, given)))

    @authenticated
    async def ListReports(
        self, request: pb.ListReportsRequest, caller: Caller, _: Context
    ) -> pb.ListReportsResponse:
        found, has_more = await self._reports.page(caller, page_of(request))
        token = next_page_token(found, has_more=has_more)
        return pb.ListReportsResponse(reports=map(to_proto, found), next_page_token=token)

    @authenticated
    async def GetReport(
        self, request: pb.GetReportRequest, caller: Caller, _: Context
    ) -> pb.GetReportResponse:
        return pb.GetReportResponse(report=to_proto(await self._reports.get(caller, request.id)))

    @authenticated
    async def DeleteReport(
        self, request: pb.DeleteReportRequest, caller: Caller, _: Context
    ) -> pb.DeleteReportResponse:
        return pb.DeleteReportResponse(id=await self._reports.delete(caller, request.id))


def to_proto(report: Report) -> pb.ReportInfo:
    return proto_from_json(pb.ReportInfo, to_json(report))
