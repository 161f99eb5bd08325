"""contracts.ingest.v1.ExportService."""

from contracts.events.v1.events_service_pb2 import Export
from contracts.ingest.v1 import export_service_pb2 as pb
from contracts.ingest.v1.export_service_pb2_grpc import ExportServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.exports import CreateExportRequest, ExportResource, to_json
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context


class ExportServicer(ExportServiceServicer):
    def __init__(self, access: RpcAccess, exports: ExportResource) -> None:
        self.access = access
        self._exports = exports

    @authenticated
    async def CreateExport(
        self, request: pb.CreateExportRequest, caller: Caller, _: Context
    ) -> pb.CreateExportResponse:
        given = given_fields(request, CreateExportRequest)
        return pb.CreateExportResponse(export=to_proto(await self._exports.create(caller, given)))

    @authenticated
    async def ListExports(
        self, request: pb.ListExportsRequest, caller: Caller, _: Context
    ) -> pb.ListExportsResponse:
        found, has_more = await self._exports.page(caller, page_of(request))
        token = next_page_token(found, has_more=has_more)
        return pb.ListExportsResponse(exports=map(to_proto, found), next_page_token=token)

    @authenticated
    async def GetExport(
        self, request: pb.GetExportRequest, caller: Caller, _: Context
    ) -> pb.GetExportResponse:
        return pb.GetExportResponse(export=to_proto(await self._exports.get(caller, request.id)))

    @authenticated
    async def DeleteExport(
        self, request: pb.DeleteExportRequest, caller: Caller, _: Context
    ) -> pb.DeleteExportResponse:
        return pb.DeleteExportResponse(id=await self._exports.delete(caller, request.id))

    @authenticated
    async def DownloadExport(  # type: ignore[override]  # it writes its responses
        self, request: pb.DownloadExportRequest, caller: Caller, context: Context
    ) -> None:
        async with self._exports.download(caller, request.id) as parts:
            async for content in parts:
                await context.write(pb.DownloadExportResponse(content=content))


def to_proto(export: Export) -> pb.ExportInfo:
    return proto_from_json(pb.ExportInfo, to_json(export))
