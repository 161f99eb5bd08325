"""The operations on campaigns, for the OpenAPI document."""

from typing import Literal

from msgspec import Struct

from services.ingest.api.callers import OF_ANYBODY
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import Id, Time

Assessment = Literal["started", "paced", "released", "held"]
Action = Literal["none", "limited", "held"]


class CampaignResponse(Struct):
    """Near-identical mail of a tenant. complaints, unsubscribes: as those who sent them are
    weighed; a refusal as spam counts half a complaint. held: messages that are held for it now, if
    its tenant has at most 100,000; null: it could not be counted, try again. evidence: log odds
    that its complaint rate is that of abuse; it is held from 5.3. allowance: how many of its
    messages may be delivered in all; null: there is no limit. next_allowance: from
    next_allowance_at on, which is null while nothing changes by itself. assessment and what follows
    are null until it has been assessed."""

    object: Literal["campaign"]
    id: Id
    tenant_id: Id
    created_at: Time
    screened: int
    delivered: int
    complaints: float
    unsubscribes: float
    held: int | None
    assessment: Assessment | None
    assessed_at: Time | None
    reviewed: bool
    evidence: float | None
    action: Action | None
    allowance: int | None
    next_allowance: int | None
    next_allowance_at: Time | None


class FoundCampaigns(Struct):
    """Newest first. next: the `after` of the next page, null at the end. A page may be short, or
    empty, before that."""

    object: Literal["list"]
    has_more: bool
    next: str | None
    data: list[CampaignResponse]


OPERATIONS = {
    "get /v1/shield/campaigns": Operation("listCampaigns", FoundCampaigns, access=OF_ANYBODY),
    "get /v1/shield/campaigns/{campaign_id}": Operation(
        "getCampaign", CampaignResponse, access=OF_ANYBODY
    ),
}
