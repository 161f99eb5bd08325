"""What becomes of the mail of a campaign, by its last assessment."""

from enum import StrEnum

from contracts.shield.v1.learning_pb2 import CampaignAssessed
from services.shield.domain.learning.facts import Change


class Action(StrEnum):
    """NONE: nothing. LIMITED: it leaves within an allowance. HELD: it waits for a review."""

    NONE = "none"
    LIMITED = "limited"
    HELD = "held"


def action_of(assessed: CampaignAssessed) -> Action:
    """Nothing follows while learning only watches."""
    if not assessed.enforced:
        return Action.NONE
    if assessed.change == Change.HELD:
        return Action.HELD
    return Action.LIMITED if assessed.allowed else Action.NONE
