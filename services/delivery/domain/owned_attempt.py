"""Attempts that this worker owns."""

from dataclasses import dataclass
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK
from contracts.router.v1.events_pb2 import DeliveryAssigned
from services.delivery.domain.tls_policy import NO_POLICY, TlsPolicy


class AttemptKey(NamedTuple):
    """The identity of an attempt."""

    message_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class OwnedAttempt:
    """An attempt that the journal lets this process make.

    epoch: the epoch that began it. until_s: the deadline on the monotonic clock, computed from the
    remaining time that the database reported, so that a wrong wall clock has no effect. resumed:
    this process stopped before end of data earlier, perhaps with `data_sent` in the journal.
    policy: what its connection must have.
    """

    key: AttemptKey
    assignment: DeliveryAssigned
    epoch: int
    until_s: float
    resumed: bool = False
    policy: TlsPolicy = NO_POLICY

    @property
    def is_express(self) -> bool:
        """Whether it goes first; mail that is not bulk does."""
        return self.assignment.priority != PRIORITY_BULK
