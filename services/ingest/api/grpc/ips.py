"""contracts.ingest.v1.IpService."""

from contracts.ingest.v1 import ip_service_pb2 as pb
from contracts.ingest.v1.ip_service_pb2_grpc import IpServiceServicer
from contracts.router.v1.policy_service_pb2 import Source
from services.ingest.api.administration.directory import checked_filter
from services.ingest.api.callers import Caller
from services.ingest.api.egress.requests import (
    AddIpRequest,
    ResumeIpRequest,
    SuspendIpRequest,
    UpdateIpRequest,
    WarmupRequest,
)
from services.ingest.api.egress.sources import SourceResource
from services.ingest.api.egress.views import ip_to_json
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context


class IpServicer(IpServiceServicer):
    def __init__(self, access: RpcAccess, sources: SourceResource) -> None:
        self.access = access
        self._sources = sources

    @authenticated
    async def AddIp(self, request: pb.AddIpRequest, caller: Caller, _: Context) -> pb.AddIpResponse:
        given = given_fields(request, AddIpRequest, empty={"addresses": []})
        return pb.AddIpResponse(ip=to_proto(caller, await self._sources.add(caller, given)))

    @authenticated
    async def ListIps(
        self, request: pb.ListIpsRequest, caller: Caller, _: Context
    ) -> pb.ListIpsResponse:
        found, has_more = await self._sources.page(
            caller,
            page_of(request),
            address=request.address,
            pool_id=checked_filter(request.pool_id, "pool_id"),
        )
        ips = [to_proto(caller, one) for one in found]
        return pb.ListIpsResponse(ips=ips, next_page_token=next_page_token(ips, has_more=has_more))

    @authenticated
    async def GetIp(self, request: pb.GetIpRequest, caller: Caller, _: Context) -> pb.GetIpResponse:
        found = await self._sources.get(caller, request.id)
        return pb.GetIpResponse(ip=to_proto(caller, found))

    @authenticated
    async def UpdateIp(
        self, request: pb.UpdateIpRequest, caller: Caller, _: Context
    ) -> pb.UpdateIpResponse:
        given = given_fields(request, UpdateIpRequest)
        changed = await self._sources.update(caller, request.id, given)
        return pb.UpdateIpResponse(ip=to_proto(caller, changed))

    @authenticated
    async def ChangeWarmup(
        self, request: pb.ChangeWarmupRequest, caller: Caller, _: Context
    ) -> pb.ChangeWarmupResponse:
        given = given_fields(request, WarmupRequest)
        changed = await self._sources.change_warmup(caller, request.id, given)
        return pb.ChangeWarmupResponse(ip=to_proto(caller, changed))

    @authenticated
    async def SuspendIp(
        self, request: pb.SuspendIpRequest, caller: Caller, _: Context
    ) -> pb.SuspendIpResponse:
        given = given_fields(request, SuspendIpRequest)
        suspended = await self._sources.suspend(caller, request.id, given)
        return pb.SuspendIpResponse(ip=to_proto(caller, suspended))

    @authenticated
    async def ResumeIp(
        self, request: pb.ResumeIpRequest, caller: Caller, _: Context
    ) -> pb.ResumeIpResponse:
        given = given_fields(request, ResumeIpRequest)
        resumed = await self._sources.resume(caller, request.id, given)
        return pb.ResumeIpResponse(ip=to_proto(caller, resumed))

    @authenticated
    async def RemoveIp(
        self, request: pb.RemoveIpRequest, caller: Caller, _: Context
    ) -> pb.RemoveIpResponse:
        return pb.RemoveIpResponse(id=await self._sources.remove(caller, request.id))


def to_proto(caller: Caller, one: Source) -> pb.IpInfo:
    return proto_from_json(pb.IpInfo, ip_to_json(caller, one))
