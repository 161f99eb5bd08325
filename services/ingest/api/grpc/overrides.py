"""contracts.ingest.v1.OverrideService."""

from contracts.ingest.v1 import override_service_pb2 as pb
from contracts.ingest.v1.override_service_pb2_grpc import OverrideServiceServicer
from contracts.router.v1.policies_pb2 import OverrideSet
from services.ingest.api.callers import Caller
from services.ingest.api.egress.overrides import OverrideResource
from services.ingest.api.egress.requests import OverrideRequest
from services.ingest.api.egress.views import override_to_json, standing_to_json
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context


class OverrideServicer(OverrideServiceServicer):
    def __init__(self, access: RpcAccess, overrides: OverrideResource) -> None:
        self.access = access
        self._overrides = overrides

    @authenticated
    async def SetOverride(
        self, request: pb.SetOverrideRequest, caller: Caller, _: Context
    ) -> pb.SetOverrideResponse:
        given = given_fields(request, OverrideRequest)
        return pb.SetOverrideResponse(override=to_proto(await self._overrides.add(caller, given)))

    @authenticated
    async def ListOverrides(
        self, request: pb.ListOverridesRequest, caller: Caller, _: Context
    ) -> pb.ListOverridesResponse:
        found, has_more = await self._overrides.page(caller, page_of(request))
        overrides = [to_proto(one) for one in found]
        token = next_page_token(overrides, has_more=has_more)
        return pb.ListOverridesResponse(overrides=overrides, next_page_token=token)

    @authenticated
    async def RemoveOverride(
        self, request: pb.RemoveOverrideRequest, caller: Caller, _: Context
    ) -> pb.RemoveOverrideResponse:
        return pb.RemoveOverrideResponse(id=await self._overrides.remove(caller, request.id))

    @authenticated
    async def ListStandings(
        self, request: pb.ListStandingsRequest, caller: Caller, _: Context
    ) -> pb.ListStandingsResponse:
        page = page_of(request, are_ids=False)
        found, has_more = await self._overrides.standings(caller, page)
        standings = [proto_from_json(pb.StandingInfo, standing_to_json(one)) for one in found]
        token = next_page_token(standings, has_more=has_more)
        return pb.ListStandingsResponse(standings=standings, next_page_token=token)


def to_proto(one: OverrideSet) -> pb.OverrideInfo:
    return proto_from_json(pb.OverrideInfo, override_to_json(one))
