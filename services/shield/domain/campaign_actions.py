"""What becomes of the mail of a campaign, by its last assessment."""

from enum import StrEnum

from contracts.shield.v1.learning_pb2 import CampaignAssessed
from services.shield.domain.learning.facts import CampaignChange


class CampaignAction(StrEnum):
    """NONE: nothing. LIMITED: it leaves within an allowance. HELD: it waits for a review."""

    NONE = "none"
    LIMITED = "limited"
    HELD = "held"


def action_of(assessed: CampaignAssessed) -> CampaignAction:
    """Nothing follows while learning only watches."""
    if not assessed.enforced:
        return CampaignAction.NONE
    if assessed.change == CampaignChange.HELD:
        return CampaignAction.HELD
    return CampaignAction.LIMITED if assessed.allowed else CampaignAction.NONE
