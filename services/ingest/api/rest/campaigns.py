"""/v1/shield/campaigns: near-identical mail, and what shield makes of it."""

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.campaign_operations import Action, Assessment
from services.ingest.api.campaigns import CampaignFilter, CampaignResource
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    json_response,
)


def routes(access: RestAccess, campaigns: CampaignResource) -> APIRouter:
    router = APIRouter(prefix="/v1/shield/campaigns", tags=["shield"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List campaigns")
    async def list_campaigns(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
        assessment: Assessment | None = None,
        action: Action | None = None,
    ) -> Response:
        """Newest first, with mail of the last 30 days. Without `X-Tenant-Id`, those of all tenants
        of an account, or for an operator of all accounts. action: what becomes of their mail. The
        next page starts after `next`; a page may be short or empty before the end. 403 for a test
        key."""
        caller = await access.authenticate_caller(incoming)
        wanted = CampaignFilter(assessment=assessment, action=action)
        page = await campaigns.page(
            caller, wanted, limit=requested_page.limit, after=requested_page.after
        )
        found = {"has_more": bool(page.next), "next": page.next or None}
        return json_response({"object": "list", **found, "data": page.campaigns})

    @router.get("/{campaign_id}", summary="Get a campaign")
    async def get_campaign(incoming: Incoming, campaign_id: str) -> Response:
        """What was counted, the evidence, and what follows from it. 403 for a test key."""
        caller = await access.authenticate_caller(incoming)
        return json_response(await campaigns.get(caller, campaign_id))

    return router
