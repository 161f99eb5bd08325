"""contracts.ingest.v1.LimitService."""

from contracts.ingest.v1 import limit_service_pb2 as pb
from contracts.ingest.v1.limit_service_pb2_grpc import LimitServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.egress.limits import LimitResource, ScopeLimits
from services.ingest.api.egress.views import limits_to_json, usage_to_json
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context


class LimitServicer(LimitServiceServicer):
    def __init__(self, access: RpcAccess, limits: LimitResource) -> None:
        self.access = access
        self._limits = limits

    @authenticated
    async def ListLimits(
        self, request: pb.ListLimitsRequest, _: Caller, __: Context
    ) -> pb.ListLimitsResponse:
        page = page_of(request, are_ids=False)
        found, has_more = await self._limits.page(page, scope=request.scope)
        limits = [proto_from_json(pb.LimitInfo, usage_to_json(one)) for one in found]
        token = next_page_token(limits, has_more=has_more)
        return pb.ListLimitsResponse(limits=limits, next_page_token=token)

    @authenticated
    async def SetLimits(
        self, request: pb.SetLimitsRequest, caller: Caller, _: Context
    ) -> pb.SetLimitsResponse:
        limits = await self._limits.set(caller, given_fields(request, ScopeLimits))
        return pb.SetLimitsResponse(
            limits=proto_from_json(pb.ScopeLimitsInfo, limits_to_json(limits))
        )
