"""An assignment that is ours to send."""

from dataclasses import dataclass
from typing import NamedTuple

from contracts.router.v1.events_pb2 import DeliveryAssigned


class AttemptKey(NamedTuple):
    """What names an attempt."""

    message_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class OwnedAttempt:
    """A row of the journal that this process may send.

    epoch: under which it was begun. until_s: on this machine's monotonic clock, worked out from
    what the database said was left, so that a wrong wall clock changes nothing. resumed: an
    earlier run in this process ended before end of data, perhaps with `data_sent` in the journal.
    """

    key: AttemptKey
    assignment: DeliveryAssigned
    epoch: int
    until_s: float
    resumed: bool = False
