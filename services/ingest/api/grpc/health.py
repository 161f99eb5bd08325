"""contracts.ingest.v1.HealthService."""

from contracts.ingest.v1 import health_service_pb2 as pb
from contracts.ingest.v1.health_service_pb2_grpc import HealthServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import RpcAccess, authenticated, proto_from_json
from services.ingest.api.grpc.server import Context
from services.ingest.api.health_checks import HealthResource


class HealthServicer(HealthServiceServicer):
    def __init__(self, access: RpcAccess, reports: HealthResource) -> None:
        self.access = access
        self._reports = reports

    @authenticated
    async def GetHealthChecks(
        self, _: pb.GetHealthChecksRequest, __: Caller, ___: Context
    ) -> pb.GetHealthChecksResponse:
        report = proto_from_json(pb.HealthReport, await self._reports.get())
        return pb.GetHealthChecksResponse(report=report)

    @authenticated
    async def RunHealthChecks(
        self, _: pb.RunHealthChecksRequest, __: Caller, ___: Context
    ) -> pb.RunHealthChecksResponse:
        report = proto_from_json(pb.HealthReport, await self._reports.run())
        return pb.RunHealthChecksResponse(report=report)

    @authenticated
    async def MarkBouncesRead(
        self, _: pb.MarkBouncesReadRequest, __: Caller, ___: Context
    ) -> pb.MarkBouncesReadResponse:
        report = proto_from_json(pb.HealthReport, await self._reports.mark_bounces_read())
        return pb.MarkBouncesReadResponse(report=report)

    @authenticated
    async def CreateHostChallenge(
        self, _: pb.CreateHostChallengeRequest, __: Caller, ___: Context
    ) -> pb.CreateHostChallengeResponse:
        return proto_from_json(pb.CreateHostChallengeResponse, self._reports.create_challenge())
