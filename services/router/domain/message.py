"""A message's states, its scheduled queue, and the rows that decisions read and write."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    CLOSED_STATE_CANCELED,
    CLOSED_STATE_DELIVERED,
    CLOSED_STATE_FAILED,
    CLOSED_STATE_SUPPRESSED,
    ClosedState,
)

CELL = "default"
SANDBOX = "sandbox"  # site and egress of test mail, and of nothing else
UNRESOLVED = "unresolved"  # the site of mail whose own is not known yet; a queue per domain
RESERVED = frozenset((SANDBOX, UNRESOLVED))
BULK = "bulk"
SITE_MAX = 200  # a queue's id is the key of an index


class State(StrEnum):
    EXPECTED = "expected"  # announced by ingest, not yet screened
    QUEUED = "queued"
    HELD = "held"
    ASSIGNED = "assigned"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELED = "canceled"


CLOSED: Mapping[State, ClosedState.ValueType] = {
    State.DELIVERED: CLOSED_STATE_DELIVERED,
    State.BOUNCED: CLOSED_STATE_BOUNCED,
    State.FAILED: CLOSED_STATE_FAILED,
    State.SUPPRESSED: CLOSED_STATE_SUPPRESSED,
    State.CANCELED: CLOSED_STATE_CANCELED,
}


class DueMessage(NamedTuple):
    """A queued row that the scheduler may assign."""

    message_id: str
    queue_id: str
    due_s: float
    expires_s: float
    attempt: int
    attempt_count: int
    egress_id: str  # of the attempt before this one
    ambiguous: bool
    is_suppressed: bool
    context: bytes


class AssignedMessage(NamedTuple):
    """An assigned row with an attempt result, as far as a retry depends on it."""

    message_id: str
    attempt: int
    attempt_count: int
    expires_s: float


class ExpiredMessage(NamedTuple):
    """An open row that has expired."""

    message_id: str
    state: State
    attempt: int
    attempt_count: int
    has_reply: bool
    ambiguous: bool
    reply: bytes
    context: bytes


@dataclass(frozen=True, slots=True)
class CloseTransition:
    """A transition to a terminal state, guarded by the state and the attempt that were read."""

    message_id: str
    from_state: State
    attempt: int
    state: State
    reason: str
    ambiguous: bool
    context: bytes
    reply: bytes = b""
    bounce_class: str = ""


class ScheduledQueue(NamedTuple):
    """The messages of a tenant for a site, by priority; bulk mail waits beside express mail.

    domain: set while the site is unresolved. No domain is called `bulk`: each contains a dot.
    """

    tenant_id: str
    site: str
    bulk: bool = False
    domain: str = ""

    @property
    def queue_id(self) -> str:
        parts = (self.tenant_id, self.site, self.domain, BULK if self.bulk else "")
        return "/".join(part for part in parts if part)

    @classmethod
    def of(cls, queue_id: str) -> "ScheduledQueue":
        tenant_id, site, *others = queue_id.split("/")
        domain = "/".join(part for part in others if part != BULK)
        return cls(tenant_id, site, BULK in others, domain)
