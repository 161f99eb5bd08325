"""What becomes of the mail of a campaign, by its last assessment."""

from enum import StrEnum

from contracts.shield.v1.learning_pb2 import CampaignAssessed
from services.shield.domain.learning.facts import AssessmentChange


class CampaignRestriction(StrEnum):
    """NONE: nothing. LIMITED: it leaves within an allowance. HELD: it waits for a review."""

    NONE = "none"
    LIMITED = "limited"
    HELD = "held"


def restriction_of(assessed: CampaignAssessed) -> CampaignRestriction:
    """Nothing follows while learning only watches."""
    if not assessed.enforced:
        return CampaignRestriction.NONE
    if assessed.change == AssessmentChange.HELD:
        return CampaignRestriction.HELD
    return CampaignRestriction.LIMITED if assessed.allowed else CampaignRestriction.NONE
