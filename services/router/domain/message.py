"""A message's states, and the rows in which doors and head speak of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    CLOSED_STATE_CANCELLED,
    CLOSED_STATE_DELIVERED,
    CLOSED_STATE_FAILED,
    CLOSED_STATE_SUPPRESSED,
    ClosedState,
)

CELL = "default"
SANDBOX = "sandbox"  # site and egress of test mail, and of nothing else
RESOLVING = "resolving"  # the site of mail whose own is not known yet; a lane per domain
RESERVED = frozenset((SANDBOX, RESOLVING))
BULK = "bulk"
SITE_MAX = 200  # a lane is the key of an index


class State(StrEnum):
    EXPECTED = "expected"  # told of by ingest, not yet screened
    WAITING = "waiting"
    HELD = "held"
    ASSIGNED = "assigned"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"


CLOSED: Mapping[State, ClosedState.ValueType] = {
    State.DELIVERED: CLOSED_STATE_DELIVERED,
    State.BOUNCED: CLOSED_STATE_BOUNCED,
    State.FAILED: CLOSED_STATE_FAILED,
    State.SUPPRESSED: CLOSED_STATE_SUPPRESSED,
    State.CANCELLED: CLOSED_STATE_CANCELLED,
}


class Claimed(NamedTuple):
    """A waiting row that the owner looks at."""

    message_id: str
    lane: str
    due_s: float
    expires_s: float
    attempt: int
    tries: int
    egress_id: str  # of the attempt before this one
    ambiguous: bool
    suppressed: bool
    envelope: bytes


class Assigned(NamedTuple):
    """An assigned row that an answer has come for, as far as a retry depends on it."""

    message_id: str
    attempt: int
    tries: int
    expires_s: float


class Open(NamedTuple):
    """A row that is not final, and whose time is up."""

    message_id: str
    state: State
    attempt: int
    tries: int
    answered: bool
    ambiguous: bool
    reply: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Closing:
    """A final move, under the guard of what was read."""

    message_id: str
    was: State
    attempt: int
    state: State
    reason: str
    ambiguous: bool
    envelope: bytes
    reply: bytes = b""
    bounce_class: str = ""


class Lane(NamedTuple):
    """A tenant at a site; bulk mail waits beside express mail, not before it.

    domain: while its site is not known; no domain is called `bulk`, for each has a dot.
    """

    tenant_id: str
    site: str
    bulk: bool = False
    domain: str = ""

    @property
    def key(self) -> str:
        parts = (self.tenant_id, self.site, self.domain, BULK if self.bulk else "")
        return "/".join(part for part in parts if part)

    @classmethod
    def of(cls, key: str) -> "Lane":
        tenant_id, site, *others = key.split("/")
        domain = "/".join(part for part in others if part != BULK)
        return cls(tenant_id, site, BULK in others, domain)
