"""contracts.ingest.v1.CampaignService."""

from contracts.ingest.v1 import campaign_service_pb2 as pb
from contracts.ingest.v1.campaign_service_pb2_grpc import CampaignServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.campaigns import CampaignFilter, CampaignResource
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context


class CampaignServicer(CampaignServiceServicer):
    def __init__(self, access: RpcAccess, campaigns: CampaignResource) -> None:
        self.access = access
        self._campaigns = campaigns

    @authenticated
    async def ListCampaigns(
        self, request: pb.ListCampaignsRequest, caller: Caller, _: Context
    ) -> pb.ListCampaignsResponse:
        page = page_of(request)
        wanted = given_fields(request, CampaignFilter)
        found = await self._campaigns.page(caller, wanted, limit=page.limit, after=page.after)
        campaigns = [proto_from_json(pb.CampaignInfo, one) for one in found.campaigns]
        return pb.ListCampaignsResponse(campaigns=campaigns, next_page_token=found.next)

    @authenticated
    async def GetCampaign(
        self, request: pb.GetCampaignRequest, caller: Caller, _: Context
    ) -> pb.GetCampaignResponse:
        found = await self._campaigns.get(caller, request.id)
        return pb.GetCampaignResponse(campaign=proto_from_json(pb.CampaignInfo, found))
