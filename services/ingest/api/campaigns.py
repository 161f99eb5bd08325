"""Near-identical mail, and what shield makes of it. shield has it."""

from uuid import UUID

from contracts.shield.v1.shield_service_pb2 import (
    Campaign,
    GetCampaignRequest,
    ListCampaignsRequest,
    ListCampaignsResponse,
)
from kernel.ids import creation_time_of
from services.ingest.api.administration.base import check_id, parse_id
from services.ingest.api.callers import Caller, check_live
from services.ingest.api.campaign_operations import Action, Assessment
from services.ingest.api.rest_base import format_time, format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel


class CampaignFilter(RequestModel):
    """Campaigns that match every given field."""

    assessment: Assessment | None = None
    action: Action | None = None


class Campaigns:
    """Those of a tenant, of all tenants of an account, or for an operator of all. Only live mail
    has any. Raises Problem."""

    def __init__(self, clients: ServiceClients) -> None:
        self._shield = clients.shield

    async def page(
        self, caller: Caller, wanted: CampaignFilter, *, limit: int, after: str
    ) -> ListCampaignsResponse:
        """Newest first."""
        check_live(caller.key, "campaigns")
        request = ListCampaignsRequest(
            **caller.owner._asdict(),
            assessment=wanted.assessment or "",
            action=wanted.action or "",
            limit=limit,
            after=check_id(after, "#/query/after") if after else "",
        )
        return await self._shield.call(self._shield.stub.ListCampaigns, request)

    async def get(self, caller: Caller, campaign_id: str) -> Campaign:
        check_live(caller.key, "campaigns")
        identifier = parse_id(campaign_id, "the campaign")
        request = GetCampaignRequest(**caller.owner._asdict(), id=identifier)
        return (await self._shield.call(self._shield.stub.GetCampaign, request)).campaign


def to_json(campaign: Campaign) -> dict[str, object]:
    last = campaign.assessed if campaign.HasField("assessed") else None
    return {
        "object": "campaign",
        "id": campaign.campaign_id,
        "tenant_id": campaign.tenant_id,
        "created_at": format_time(creation_time_of(UUID(campaign.campaign_id))),
        "screened": campaign.screened,
        "delivered": campaign.delivered,
        "complaints": campaign.complaints,
        "unsubscribes": campaign.unsubscribes,
        "assessment": last.change if last else None,
        "assessed_at": format_timestamp(last.assessed_at) if last else None,
        "reviewed": last.reviewed if last else False,
        "evidence": last.evidence if last else None,
        "action": campaign.action or None,
        "allowance": (last.allowed or None) if last else None,
        "next_allowance": (last.next_allowed or None) if last else None,
        "next_allowance_at": format_timestamp(last.next_at) if last else None,
    }
