"""A fact: an event, and what the log has to know of it."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived, DeliveryAttempted
from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed, MessageDelayed
from contracts.shield.v1.events_pb2 import VERDICT_HOLD, MessageScreened
from kernel.topics import event_id

STEPS_PER_ATTEMPT = 4
LAST_STEP = 1 << 30


class Kind(IntEnum):
    """Stored: numbers stay."""

    ACCEPTED = 1
    SCREENED = 2
    ASSIGNED = 3
    ATTEMPTED = 4
    DELAYED = 5
    CLOSED = 6
    COMPLAINT = 7
    BOUNCE = 8
    WEBHOOK_DISABLED = 9
    WEBHOOK_TEST = 10


class Rank(IntEnum):
    """How far a message, or an email, has come. Stored. The highest wins, in whatever order."""

    UNKNOWN = 0
    QUEUED = 1
    SCHEDULED = 2
    SENT = 3
    HELD = 4
    DELAYED = 5
    DELIVERED = 6
    CANCELED = 7
    SUPPRESSED = 8
    FAILED = 9
    BOUNCED = 10
    COMPLAINED = 11


CLOSED_RANKS = {
    1: Rank.DELIVERED,
    2: Rank.BOUNCED,
    3: Rank.FAILED,
    4: Rank.SUPPRESSED,
    5: Rank.CANCELED,
}
LOGGED = frozenset(
    {Kind.ACCEPTED, Kind.SCREENED, Kind.ASSIGNED, Kind.ATTEMPTED, Kind.DELAYED, Kind.CLOSED}
)  # what comes after a message's close, or is of no message, goes to `facts`


class Fact(NamedTuple):
    """subject_id: the message, or a webhook endpoint. email_id and recipient: empty for the latter.
    step: where the fact stands among those of its message, by cause."""

    event: Message
    kind: Kind
    event_id: str
    subject_id: str
    tenant_id: str
    email_id: str
    recipient: str
    rank: Rank
    step: int


def is_scheduled(envelope: Any) -> bool:  # noqa: ANN401 - an Envelope
    """Accepted for later."""
    due, accepted = envelope.due_at, envelope.accepted_at
    return bool((due.seconds, due.nanos) > (accepted.seconds, accepted.nanos))


def _accepted(event: MessageAccepted) -> tuple[Rank, int]:
    return Rank.SCHEDULED if is_scheduled(event.envelope) else Rank.SENT, 0


def _screened(event: MessageScreened) -> tuple[Rank, int]:
    return Rank.HELD if event.verdict == VERDICT_HOLD else Rank.QUEUED, 1


def _assigned(event: DeliveryAssigned) -> tuple[Rank, int]:
    return Rank.SENT, event.attempt * STEPS_PER_ATTEMPT


def _attempted(event: DeliveryAttempted) -> tuple[Rank, int]:
    return Rank.SENT, event.attempt * STEPS_PER_ATTEMPT + 1


def _delayed(event: MessageDelayed) -> tuple[Rank, int]:
    return Rank.DELAYED, event.attempt * STEPS_PER_ATTEMPT + 2


def _closed(event: MessageClosed) -> tuple[Rank, int]:
    return CLOSED_RANKS.get(event.state, Rank.FAILED), LAST_STEP


def _complaint(_: ComplaintReceived) -> tuple[Rank, int]:
    return Rank.COMPLAINED, LAST_STEP + 2


def _bounce(_: BounceReceived) -> tuple[Rank, int]:
    return Rank.BOUNCED, LAST_STEP + 1


Placed: TypeAlias = Callable[[Any], tuple[Rank, int]]
OF_MESSAGES: dict[type[Message], tuple[Kind, Placed]] = {
    MessageAccepted: (Kind.ACCEPTED, _accepted),
    MessageScreened: (Kind.SCREENED, _screened),
    DeliveryAssigned: (Kind.ASSIGNED, _assigned),
    DeliveryAttempted: (Kind.ATTEMPTED, _attempted),
    MessageDelayed: (Kind.DELAYED, _delayed),
    MessageClosed: (Kind.CLOSED, _closed),
    ComplaintReceived: (Kind.COMPLAINT, _complaint),
    BounceReceived: (Kind.BOUNCE, _bounce),
}
ENVELOPED = frozenset({Kind.ACCEPTED, Kind.SCREENED, Kind.ASSIGNED})
TYPES: dict[Kind, type[Message]] = {
    **{kind: event for event, (kind, _) in OF_MESSAGES.items()},
    Kind.WEBHOOK_DISABLED: WebhookDisabled,
    Kind.WEBHOOK_TEST: WebhookDisabled,  # its payload is empty but for the ids
}


def fact_of(event: Any) -> Fact:  # noqa: ANN401 - one of OF_MESSAGES, or a WebhookDisabled
    """Read an event. Raises ValueError when its identity is incomplete."""
    identifier = event_id(event)
    if type(event) is WebhookDisabled:
        return of_endpoint(event, Kind.WEBHOOK_DISABLED, identifier)
    kind, placed = OF_MESSAGES[type(event)]
    who = event.envelope if kind in ENVELOPED else event
    email_id = who.email_id
    if not email_id:
        raise ValueError(f"a {kind.name.lower()} fact without email_id")
    rank, step = placed(event)
    subject_id, tenant_id, recipient = event.message_id, who.tenant_id, who.recipient
    return Fact(event, kind, identifier, subject_id, tenant_id, email_id, recipient, rank, step)


def of_endpoint(event: WebhookDisabled, kind: Kind, identifier: str) -> Fact:
    return Fact(
        event, kind, identifier, event.endpoint_id, event.tenant_id, "", "", Rank.UNKNOWN, 0
    )


def is_test(fact: Fact) -> bool:
    """Of test mail."""
    who = fact.event.envelope if fact.kind in ENVELOPED else fact.event  # type: ignore[attr-defined]
    return bool(getattr(who, "test", False))


def decode(kind: int, payload: bytes) -> Message:
    """The event of a row."""
    return TYPES[Kind(kind)].FromString(payload)
