"""What learning reads, and what it emits. Times are seconds since the epoch."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

UNLIMITED = 100_000  # an allowance, from which there is none


class OutcomeKind(StrEnum):
    DELIVERED = "delivered"
    SPAM_BLOCKED = "spam_blocked"  # refused as spam, for policy or for a URL
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"  # after it was delivered
    REVIEWED_GOOD = "reviewed_good"  # a person has released held mail, or
    REVIEWED_BAD = "reviewed_bad"  # rejected it


@dataclass(frozen=True, slots=True)
class CampaignStarted:
    """The first message of a campaign was screened. A repeat changes nothing.

    margin: the log odds that it is abuse, of the model alone. entries: as `entries.pack_entries`
    makes them; empty: nothing is learned from its text. traces: see `Fingerprint`.
    """

    campaign_id: str
    tenant_id: str
    margin: float
    entries: bytes
    traces: tuple[str, ...]
    occurred_at_s: float


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """What became of a message, or of several.

    recipient_digest: any hash of the address, the same for the same address; empty unless a
    recipient reports. recipient_domain: in lower case. at_large_mailbox: a large mailbox provider
    serves that domain, so that its users have nothing to do with one another. count: of messages
    with this outcome; 1 if a recipient reports.
    """

    message_id: str
    tenant_id: str
    campaign_id: str
    kind: OutcomeKind
    recipient_digest: bytes
    recipient_domain: str
    at_large_mailbox: bool
    occurred_at_s: float
    count: int = 1


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing else has happened for some time, so that campaigns can end."""

    occurred_at_s: float


@dataclass(frozen=True, slots=True)
class VersionReviewed:
    """A person uses a version from now on (promotes), or no more. reviewer, reason: to be told."""

    version: str
    promotes: bool
    reviewer: str
    reason: str
    occurred_at_s: float


Fact: TypeAlias = CampaignStarted | MessageOutcome | TimePassed | VersionReviewed


class AssessmentChange(StrEnum):
    STARTED = "started"
    PACED = "paced"  # the allowance has grown, or will
    RELEASED = "released"  # as good; its allowance goes on growing
    HELD = "held"


@dataclass(frozen=True, slots=True)
class CampaignAssessed:
    """What a campaign may do from now on.

    allowed: deliveries in all, those that there were included; UNLIMITED and more: no limit.
    next_allowed: the same from next_at_s on, without another event; next_at_s is 0 if nothing
    changes. complaints: as they
    were weighed. evidence: log likelihood ratio of abuse, prior included. reviewed: a person has
    decided.
    """

    campaign_id: str
    tenant_id: str
    change: AssessmentChange
    at_s: float
    delivered: int
    complaints: float
    evidence: float
    allowed: int
    next_allowed: int = 0
    next_at_s: float = 0.0
    reviewed: bool = False


def allowed_at(event: CampaignAssessed, now_s: float) -> int | None:
    """How many messages of a campaign may be delivered in all; None: no limit. `event`: its
    latest."""
    if event.change is AssessmentChange.HELD:
        return 0
    due = event.next_at_s and now_s >= event.next_at_s
    allowed = event.next_allowed if due else event.allowed
    return allowed if allowed < UNLIMITED else None


@dataclass(frozen=True, slots=True)
class VersionPublished:
    """A version of what was learned, which held on the canaries: it scores beside the live one.

    version: of the model and of `packed`. packed: see `deltas.unpack_deltas`. hold, block: the
    margins of HOLD_POINTS and BLOCK_POINTS in this version. offset: of the last fact in it.
    campaigns: how many it has learned from. auc, fpr: on the canaries.
    """

    version: str
    packed: bytes
    hold: float
    block: float
    offset: int
    at_s: float
    campaigns: int
    auc: float
    fpr: float


class VersionChangeKind(StrEnum):
    PROMOTED = "promoted"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class VersionChanged:
    """live: the version in use from now on; empty: the model as it was trained. shadow: the one
    that scores beside it; empty: none. review: None if its time has come."""

    version: str
    change: VersionChangeKind
    live: str
    shadow: str
    offset: int
    at_s: float
    review: VersionReviewed | None = None


Decision: TypeAlias = CampaignAssessed | VersionPublished | VersionChanged
