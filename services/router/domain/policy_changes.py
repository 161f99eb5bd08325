"""What the engine has decided about limits, to be saved and published."""

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import Message

from contracts.router.v1.policies_pb2 import LimitsChanged
from contracts.shield.v1.learning_pb2 import CampaignAssessed
from services.router.domain.message import CELL


class PolicyCounts(NamedTuple):
    """Counts that a later decision needs. subject: as in its events."""

    subject: str
    counts: Sequence[int]


class PolicyDecisions(NamedTuple):
    events: list[Message]
    counts: list[PolicyCounts]

    def published_by(self, cell: str) -> list[Message]:
        """Without what shield has published, and what another cell publishes."""
        others = (CampaignAssessed,) if cell == CELL else (CampaignAssessed, LimitsChanged)
        return [one for one in self.events if not isinstance(one, others)]

    def __bool__(self) -> bool:
        return bool(self.events or self.counts)
