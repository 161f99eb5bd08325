"""What the engine has decided about limits, to be saved and published."""

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import Message

from contracts.shield.v1.learning_pb2 import CampaignAssessed


class SavedCounts(NamedTuple):
    """Counts that a later decision needs. subject: as in its events."""

    subject: str
    counts: Sequence[int]


class PolicyChanges(NamedTuple):
    events: list[Message]
    counts: list[SavedCounts]

    @property
    def to_publish(self) -> list[Message]:
        """Without what shield has published."""
        return [one for one in self.events if not isinstance(one, CampaignAssessed)]

    def __bool__(self) -> bool:
        return bool(self.events or self.counts)
