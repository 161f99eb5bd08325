"""contracts.ingest.v1.LogService."""

from contracts.ingest.v1 import log_service_pb2 as pb
from contracts.ingest.v1.log_service_pb2_grpc import LogServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context
from services.ingest.api.request_log import RequestLogResource, to_json, whole_to_json


class LogServicer(LogServiceServicer):
    def __init__(self, access: RpcAccess, logs: RequestLogResource) -> None:
        self.access = access
        self._logs = logs

    @authenticated
    async def ListLogs(
        self, request: pb.ListLogsRequest, caller: Caller, _: Context
    ) -> pb.ListLogsResponse:
        found, has_more = await self._logs.page(caller, page_of(request))
        logs = [proto_from_json(pb.LogSummary, to_json(one)) for one in found]
        token = next_page_token(logs, has_more=has_more)
        return pb.ListLogsResponse(logs=logs, next_page_token=token)

    @authenticated
    async def GetLog(
        self, request: pb.GetLogRequest, caller: Caller, _: Context
    ) -> pb.GetLogResponse:
        found = whole_to_json(await self._logs.get(caller, request.id))
        return pb.GetLogResponse(log=proto_from_json(pb.LogInfo, found))
