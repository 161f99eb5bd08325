"""Queue what is held of campaigns that a person has released."""

from kernel.errors import Fenced
from kernel.lease import Lease
from services.router.domain.campaigns import CampaignAssessments
from services.router.store import holds


async def release_held(lease: Lease, campaigns: CampaignAssessments) -> bool:
    """Some messages of one campaign. True if there were any to look for."""
    campaign_id, tenant_id = next(iter(campaigns.to_release.items()), ("", ""))
    if not campaign_id:
        return False
    try:
        async with lease.transaction() as tx:
            has_more = await holds.release(tx, lease.name, tenant_id, campaign_id=campaign_id)
    except Fenced:
        return False
    if not has_more:
        campaigns.to_release.pop(campaign_id, None)
    return True
