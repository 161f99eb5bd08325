"""Near-identical mail, and what shield makes of it. shield has it, and the router what is held."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from contracts.router.v1.held_service_pb2 import CountHeldRequest
from contracts.shield.v1.shield_service_pb2 import (
    Campaign,
    GetCampaignRequest,
    ListCampaignsRequest,
)
from kernel.ids import creation_time_of
from services.ingest.api.administration.directory import check_id, parse_id
from services.ingest.api.callers import Caller, check_live
from services.ingest.api.campaign_operations import Action, Assessment
from services.ingest.api.rest_base import format_time, format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Problem


class CampaignFilter(RequestModel):
    """Campaigns that match every given field."""

    assessment: Assessment | None = None
    action: Action | None = None


class CampaignPage(NamedTuple):
    """next: the id after which the next page begins; empty at the end."""

    campaigns: Sequence[dict[str, object]]
    next: str


class CampaignResource:
    """Those of a tenant, of all tenants of an account, or for an operator of all. Only live mail
    has any. Raises Problem."""

    def __init__(self, clients: ServiceClients) -> None:
        self._shield = clients.shield
        self._held = clients.held

    async def page(
        self, caller: Caller, wanted: CampaignFilter, *, limit: int, after: str
    ) -> CampaignPage:
        """Newest first."""
        check_live(caller.key, "campaigns")
        request = ListCampaignsRequest(
            **caller.owner._asdict(),
            assessment=wanted.assessment or "",
            action=wanted.action or "",
            limit=limit,
            after=check_id(after, "#/query/after") if after else "",
        )
        found = await self._shield.call(self._shield.stub.ListCampaigns, request)
        return CampaignPage(await self._to_json(found.campaigns), found.next)

    async def get(self, caller: Caller, campaign_id: str) -> dict[str, object]:
        check_live(caller.key, "campaigns")
        identifier = parse_id(campaign_id, "the campaign")
        request = GetCampaignRequest(**caller.owner._asdict(), id=identifier)
        found = await self._shield.call(self._shield.stub.GetCampaign, request)
        [shown] = await self._to_json([found.campaign])
        return shown

    async def _to_json(self, campaigns: Sequence[Campaign]) -> list[dict[str, object]]:
        held = await self._count_held({one.tenant_id for one in campaigns})
        return [
            to_json(one, None if held is None else held.get(one.campaign_id, 0))
            for one in campaigns
        ]

    async def _count_held(self, tenant_ids: Collection[str]) -> Mapping[str, int] | None:
        """By campaign; None if the router is away, or too busy."""
        if not tenant_ids:
            return {}
        request = CountHeldRequest(tenant_ids=tenant_ids)
        with suppress(Problem):
            return (await self._held.call(self._held.stub.CountHeld, request)).messages
        return None


def to_json(campaign: Campaign, held: int | None) -> dict[str, object]:
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
        "held": held,
        "assessment": last.change if last else None,
        "assessed_at": format_timestamp(last.assessed_at) if last else None,
        "reviewed": last.reviewed if last else False,
        "evidence": last.evidence if last else None,
        "action": campaign.action or None,
        "allowance": (last.allowed or None) if last else None,
        "next_allowance": (last.next_allowed or None) if last else None,
        "next_allowance_at": format_timestamp(last.next_at) if last else None,
    }
