"""States of a message, its scheduled queue, and the rows that decisions read and write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
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
SANDBOX = "sandbox"  # site and egress source of test mail only
UNRESOLVED = "unresolved"  # site of messages whose site is not known yet; one queue per domain
RESERVED = frozenset((SANDBOX, UNRESOLVED))
KEY = "key="  # in the id of a queue
MAILBOX = "mailbox="
CAMPAIGN = "campaign="
QUEUES_CACHED = 20_000  # parsed ids
SITE_MAX = 200  # characters; a queue id is the key of an index


class MessageRowState(StrEnum):
    EXPECTED = "expected"  # announced by ingest, not yet screened
    QUEUED = "queued"
    HELD = "held"
    ASSIGNED = "assigned"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELED = "canceled"


CLOSED: Mapping[MessageRowState, ClosedState.ValueType] = {
    MessageRowState.DELIVERED: CLOSED_STATE_DELIVERED,
    MessageRowState.BOUNCED: CLOSED_STATE_BOUNCED,
    MessageRowState.FAILED: CLOSED_STATE_FAILED,
    MessageRowState.SUPPRESSED: CLOSED_STATE_SUPPRESSED,
    MessageRowState.CANCELED: CLOSED_STATE_CANCELED,
}


class DueMessage(NamedTuple):
    """A queued row that the scheduler may assign."""

    message_id: str
    queue_id: str
    due_s: float
    expires_s: float
    attempt: int
    attempt_count: int
    egress_id: str  # of the previous attempt
    ambiguous: bool
    suppressed_by: str | None  # origins of suppressions, see `deciding_origin`
    context: bytes
    reviewed: bool = False  # it was held, and a person has released it


class AssignedRow(NamedTuple):
    """The fields of an assigned row on which the transition after its attempt depends."""

    message_id: str
    attempt: int
    attempt_count: int
    expires_s: float


class ExpiredMessage(NamedTuple):
    """An open row that has expired."""

    message_id: str
    state: MessageRowState
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
    from_state: MessageRowState
    attempt: int
    state: MessageRowState
    reason: str
    ambiguous: bool
    context: bytes
    reply: bytes = b""
    bounce_class: str = ""


class Priority(IntEnum):
    """The value is the weight of a queue among the queues of its tenant."""

    BULK = 1
    NORMAL = 10
    URGENT = 100


SUFFIXES = {Priority.BULK: "bulk", Priority.NORMAL: "", Priority.URGENT: "urgent"}
PRIORITIES = {suffix: priority for priority, suffix in SUFFIXES.items()}


class ScheduledQueue(NamedTuple):
    """The queued messages of a tenant, site and priority.

    egress_id: set for messages that stay with an egress source; empty if any source of the pool
    may send them. domain: set while the site is unresolved. No domain is named like a priority:
    each contains a dot. key_id, mailbox_id: of an API key or a mailbox with limits of its own, and
    campaign_id: of a campaign that has, so that they delay no other mail of the tenant.
    """

    tenant_id: str
    site: str
    priority: Priority = Priority.NORMAL
    domain: str = ""
    egress_id: str = ""
    key_id: str = ""
    mailbox_id: str = ""
    campaign_id: str = ""

    @property
    def queue_id(self) -> str:
        site = f"{self.site}@{self.egress_id}" if self.egress_id else self.site
        key = f"{KEY}{self.key_id}" if self.key_id else ""
        mailbox = f"{MAILBOX}{self.mailbox_id}" if self.mailbox_id else ""
        campaign = f"{CAMPAIGN}{self.campaign_id}" if self.campaign_id else ""
        parts = (self.tenant_id, site, self.domain, key, mailbox, campaign, SUFFIXES[self.priority])
        return "/".join(part for part in parts if part)

    @classmethod
    def of(cls, queue_id: str) -> "ScheduledQueue":
        return parse_queue_id(queue_id)


@lru_cache(maxsize=QUEUES_CACHED)
def parse_queue_id(queue_id: str) -> ScheduledQueue:
    tenant_id, site, *others = queue_id.split("/")
    site, _, egress_id = site.partition("@")
    priority = PRIORITIES.get(others[-1] if others else "", Priority.NORMAL)
    own = [part for part in others if part.startswith((KEY, MAILBOX, CAMPAIGN))]
    names = "/".join(part for part in others if part not in {*PRIORITIES, *own})
    key_id, mailbox_id, campaign_id = (_part_of(own, name) for name in (KEY, MAILBOX, CAMPAIGN))
    return ScheduledQueue(
        tenant_id, site, priority, names, egress_id, key_id, mailbox_id, campaign_id
    )


def _part_of(parts: Sequence[str], prefix: str) -> str:
    return next((part[len(prefix) :] for part in parts if part.startswith(prefix)), "")
