"""Log events: an event with the fields that the log needs."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived, DeliveryAttempted
from contracts.events.v1.events_pb2 import (
    LinkClicked,
    MessageOpened,
    RecipientUnsubscribed,
    ReportReady,
    UsageThresholdReached,
    WebhookDisabled,
)
from contracts.ingest.v1.events_pb2 import ApiKeyRotated, DomainChanged, MessageAccepted
from contracts.router.v1.events_pb2 import (
    REVIEW_RELEASED,
    DeliveryAssigned,
    HeldMessageReviewed,
    MessageClosed,
    MessageDelayed,
    MessageHeld,
    SuppressionChanged,
)
from contracts.router.v1.policies_pb2 import (
    LimitReached,
    ListingChanged,
    StandingChanged,
    WarmupChanged,
)
from contracts.shield.v1.events_pb2 import VERDICT_HOLD, MessageScreened, ShadowDiffered
from kernel.topics import event_id

STEPS_PER_ATTEMPT = 4
LAST_STEP = 1 << 30


class EventKind(IntEnum):
    """Stored in the database, so a number never changes."""

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
    DOMAIN = 11
    SUPPRESSION = 12
    OPENED = 13
    CLICKED = 14
    UNSUBSCRIBED = 15
    STANDING = 16
    REPORT = 17
    USAGE = 18
    API_KEY = 19
    WARMUP = 20
    LISTING = 21
    LIMIT = 22
    REVIEWED = 23
    HELD = 24
    SHADOW = 25


class StatusRank(IntEnum):
    """The status of a message or an email. Stored in the database. The highest rank wins, in any
    order of events."""

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


# By the names of a list of emails.
STATUSES = {rank.name.lower(): rank for rank in StatusRank} | {
    "delivery_delayed": StatusRank.DELAYED
}
LAST_EVENTS = {rank: rank.name.lower() for rank in StatusRank} | {
    StatusRank.DELAYED: "delivery_delayed"
}
CLOSED_RANKS = {
    1: StatusRank.DELIVERED,
    2: StatusRank.BOUNCED,
    3: StatusRank.FAILED,
    4: StatusRank.SUPPRESSED,
    5: StatusRank.CANCELED,
}
ENGAGEMENT_KINDS = frozenset({EventKind.OPENED, EventKind.CLICKED, EventKind.UNSUBSCRIBED})
# Events after the close of a message, or without a message, go to `unpartitioned_log`.
PARTITIONED_KINDS = frozenset(
    {
        EventKind.ACCEPTED,
        EventKind.SCREENED,
        EventKind.ASSIGNED,
        EventKind.ATTEMPTED,
        EventKind.DELAYED,
        EventKind.CLOSED,
        EventKind.REVIEWED,
        EventKind.HELD,
        EventKind.SHADOW,
    }
)


class LogEvent(NamedTuple):
    """subject_id: of the message, or of the endpoint, domain, suppression, account, API key,
    egress source or tenant. tenant_id: or the account; empty for what is nobody's and not logged.
    email_id and recipient: empty for all but the first. step: the position among the events of the
    message, in causal order."""

    payload: Message
    kind: EventKind
    event_id: str
    subject_id: str
    tenant_id: str
    email_id: str
    recipient: str
    rank: StatusRank
    step: int


def is_scheduled(context: Any) -> bool:  # noqa: ANN401 - a MessageContext
    """Whether the message was accepted for a later time."""
    due, accepted = context.due_at, context.accepted_at
    return bool((due.seconds, due.nanos) > (accepted.seconds, accepted.nanos))


def _accepted(event: MessageAccepted) -> tuple[StatusRank, int]:
    return StatusRank.SCHEDULED if is_scheduled(event.context) else StatusRank.SENT, 0


def _screened(event: MessageScreened) -> tuple[StatusRank, int]:
    return StatusRank.HELD if event.verdict == VERDICT_HOLD else StatusRank.QUEUED, 1


def _reviewed(_: HeldMessageReviewed) -> tuple[StatusRank, int]:
    return StatusRank.SENT, 2


def _shadow(_: ShadowDiffered) -> tuple[StatusRank, int]:
    return StatusRank.UNKNOWN, 1


def _assigned(event: DeliveryAssigned) -> tuple[StatusRank, int]:
    return StatusRank.SENT, event.attempt * STEPS_PER_ATTEMPT


def _attempted(event: DeliveryAttempted) -> tuple[StatusRank, int]:
    return StatusRank.SENT, event.attempt * STEPS_PER_ATTEMPT + 1


def _delayed(event: MessageDelayed) -> tuple[StatusRank, int]:
    return StatusRank.DELAYED, event.attempt * STEPS_PER_ATTEMPT + 2


def _held(event: MessageHeld) -> tuple[StatusRank, int]:
    return StatusRank.HELD, event.attempt * STEPS_PER_ATTEMPT + 3


def _closed(event: MessageClosed) -> tuple[StatusRank, int]:
    return CLOSED_RANKS.get(event.state, StatusRank.FAILED), LAST_STEP


def _complaint(_: ComplaintReceived) -> tuple[StatusRank, int]:
    return StatusRank.COMPLAINED, LAST_STEP + 2


def _bounce(_: BounceReceived) -> tuple[StatusRank, int]:
    return StatusRank.BOUNCED, LAST_STEP + 1


def _engaged(_: Message) -> tuple[StatusRank, int]:
    """What a recipient does with a message does not change its status."""
    return StatusRank.UNKNOWN, LAST_STEP + 3


Placement: TypeAlias = Callable[[Any], tuple[StatusRank, int]]
MESSAGE_EVENTS: dict[type[Message], tuple[EventKind, Placement]] = {
    MessageAccepted: (EventKind.ACCEPTED, _accepted),
    MessageScreened: (EventKind.SCREENED, _screened),
    HeldMessageReviewed: (EventKind.REVIEWED, _reviewed),
    ShadowDiffered: (EventKind.SHADOW, _shadow),
    DeliveryAssigned: (EventKind.ASSIGNED, _assigned),
    DeliveryAttempted: (EventKind.ATTEMPTED, _attempted),
    MessageDelayed: (EventKind.DELAYED, _delayed),
    MessageHeld: (EventKind.HELD, _held),
    MessageClosed: (EventKind.CLOSED, _closed),
    ComplaintReceived: (EventKind.COMPLAINT, _complaint),
    BounceReceived: (EventKind.BOUNCE, _bounce),
    MessageOpened: (EventKind.OPENED, _engaged),
    LinkClicked: (EventKind.CLICKED, _engaged),
    RecipientUnsubscribed: (EventKind.UNSUBSCRIBED, _engaged),
}
WITH_CONTEXT = frozenset(
    {
        *(EventKind.ACCEPTED, EventKind.SCREENED, EventKind.REVIEWED, EventKind.SHADOW),
        *(EventKind.ASSIGNED, EventKind.HELD),
    }
)
EVENT_CLASSES: dict[EventKind, type[Message]] = {
    **{kind: event for event, (kind, _) in MESSAGE_EVENTS.items()},
    EventKind.WEBHOOK_DISABLED: WebhookDisabled,
    EventKind.WEBHOOK_TEST: WebhookDisabled,  # only its ids are used
    EventKind.DOMAIN: DomainChanged,
    EventKind.SUPPRESSION: SuppressionChanged,
    EventKind.STANDING: StandingChanged,
    EventKind.REPORT: ReportReady,
    EventKind.USAGE: UsageThresholdReached,
    EventKind.API_KEY: ApiKeyRotated,
    EventKind.WARMUP: WarmupChanged,
    EventKind.LISTING: ListingChanged,
    EventKind.LIMIT: LimitReached,
}
ALL_EVENTS = tuple(dict.fromkeys(EVENT_CLASSES.values()))


def log_event_of(event: Any) -> LogEvent:  # noqa: ANN401 - one of MESSAGE_EVENTS, or one without a message
    """The log event of an event. Raises ValueError if its identity is incomplete."""
    identifier = event_id(event)
    if make := WITHOUT_MESSAGE.get(type(event)):
        return make(event, identifier)
    kind, placement = MESSAGE_EVENTS[type(event)]
    context = event.context if kind in WITH_CONTEXT else event
    email_id = context.email_id
    if not email_id and kind != EventKind.UNSUBSCRIBED:  # a link has told all that is known
        raise ValueError(f"the {kind.name.lower()} event has no email_id")
    rank, step = placement(event)
    subject_id, tenant_id, recipient = event.message_id, context.tenant_id, context.recipient
    return LogEvent(event, kind, identifier, subject_id, tenant_id, email_id, recipient, rank, step)


def endpoint_log_event(event: WebhookDisabled, kind: EventKind, identifier: str) -> LogEvent:
    return LogEvent(
        event, kind, identifier, event.endpoint_id, event.tenant_id, "", "", StatusRank.UNKNOWN, 0
    )


def domain_log_event(event: DomainChanged, identifier: str) -> LogEvent:
    return LogEvent(
        event, EventKind.DOMAIN, identifier, event.domain_id, event.tenant_id, "", "",
        StatusRank.UNKNOWN, 0,
    )  # fmt: skip


def suppression_log_event(event: SuppressionChanged, identifier: str) -> LogEvent:
    """That of an account is kept as the account's, whose endpoints are those of no tenant."""
    return LogEvent(
        event, EventKind.SUPPRESSION, identifier, event.suppression_id,
        event.tenant_id or event.account_id, "", "", StatusRank.UNKNOWN, 0,
    )  # fmt: skip


def standing_log_event(event: StandingChanged, identifier: str) -> LogEvent:
    """Those of sources and domains are nobody's."""
    tenant_id = event.subject_id if event.subject_kind == "tenant" else ""
    return LogEvent(
        event, EventKind.STANDING, identifier, event.subject_id, tenant_id, "", "",
        StatusRank.UNKNOWN, 0,
    )  # fmt: skip


def report_log_event(event: ReportReady, identifier: str) -> LogEvent:
    return LogEvent(
        event, EventKind.REPORT, identifier, event.report_id, event.tenant_id, "", "",
        StatusRank.UNKNOWN, 0,
    )  # fmt: skip


def usage_log_event(event: UsageThresholdReached, identifier: str) -> LogEvent:
    """It is about the account, and the account's own."""
    return LogEvent(
        event, EventKind.USAGE, identifier, event.account_id, event.account_id, "", "",
        StatusRank.UNKNOWN, 0,
    )  # fmt: skip


def api_key_log_event(event: ApiKeyRotated, identifier: str) -> LogEvent:
    """That of an account is the account's own."""
    return LogEvent(
        event, EventKind.API_KEY, identifier, event.key_id, event.tenant_id or event.account_id,
        "", "", StatusRank.UNKNOWN, 0,
    )  # fmt: skip


def warmup_log_event(event: WarmupChanged, identifier: str) -> LogEvent:
    """A day that ends in the same stage is nobody's."""
    owner = "" if event.change == "held" else event.tenant_id or event.account_id
    return LogEvent(
        event, EventKind.WARMUP, identifier, event.egress_id, owner, "", "", StatusRank.UNKNOWN, 0
    )


def listing_log_event(event: ListingChanged, identifier: str) -> LogEvent:
    """That it lasts is nobody's."""
    owner = "" if event.confirmed else event.tenant_id or event.account_id
    return LogEvent(
        event, EventKind.LISTING, identifier, event.egress_id, owner, "", "", StatusRank.UNKNOWN, 0
    )


def limit_log_event(event: LimitReached, identifier: str) -> LogEvent:
    return LogEvent(
        event, EventKind.LIMIT, identifier, event.tenant_id, event.tenant_id, "", "",
        StatusRank.UNKNOWN, 0,
    )  # fmt: skip


def disabled_log_event(event: WebhookDisabled, identifier: str) -> LogEvent:
    return endpoint_log_event(event, EventKind.WEBHOOK_DISABLED, identifier)


WITHOUT_MESSAGE: dict[type[Message], Callable[[Any, str], LogEvent]] = {
    WebhookDisabled: disabled_log_event,
    DomainChanged: domain_log_event,
    SuppressionChanged: suppression_log_event,
    StandingChanged: standing_log_event,
    ReportReady: report_log_event,
    UsageThresholdReached: usage_log_event,
    ApiKeyRotated: api_key_log_event,
    WarmupChanged: warmup_log_event,
    ListingChanged: listing_log_event,
    LimitReached: limit_log_event,
}


def is_release(log_event: LogEvent) -> bool:
    """Whether a held message was released."""
    event = log_event.payload
    return isinstance(event, HeldMessageReviewed) and event.review == REVIEW_RELEASED


def is_test(log_event: LogEvent) -> bool:
    """Whether it is an event of test mail."""
    event = log_event.payload
    context = event.context if log_event.kind in WITH_CONTEXT else event  # type: ignore[attr-defined]
    return bool(getattr(context, "test", False))


def decode_payload(kind: int, payload: bytes) -> Message:
    """The event of a stored row."""
    return EVENT_CLASSES[EventKind(kind)].FromString(payload)
