"""The state of a message: its events in any order, combined by rank."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from contracts.router.v1.events_pb2 import CLOSED_STATE_FAILED, MessageClosed
from kernel import times
from services.events.domain.figures.facts import MessageFacts, merge_facts
from services.events.domain.log_event import (
    ENGAGEMENT_KINDS,
    EventKind,
    LogEvent,
    StatusRank,
    is_release,
)

# A tenant receives the first delay of a message, then at most one per 4 hours.
DELAY_NOTICE_INTERVAL = timedelta(hours=4)
ALWAYS_PUBLIC = ENGAGEMENT_KINDS | {
    EventKind.CLOSED,
    EventKind.COMPLAINT,
    EventKind.BOUNCE,
    EventKind.HELD,
}
NEVER_PUBLIC = frozenset({EventKind.ATTEMPTED, EventKind.SHADOW})
ONCE_PER_EMAIL = frozenset({EventKind.ACCEPTED, EventKind.ASSIGNED})
SENDING_KINDS = frozenset({EventKind.ASSIGNED, EventKind.ATTEMPTED})
STEP = attrgetter("step")


class MessageState(NamedTuple):
    """A message in the log. seq: its recorded events; public_seq: those its tenant receives. facts:
    None of test mail."""

    subject_id: str
    tenant_id: str
    email_id: str
    recipient: str
    seq: int = 0
    public_seq: int = 0
    rank: int = StatusRank.UNKNOWN
    closed: int = 0
    closed_at: datetime | None = None
    delayed_at: datetime | None = None
    facts: MessageFacts | None = None


class LogEntry(NamedTuple):
    """An event with its numbers; public_seq is 0 for an event that its tenant does not receive."""

    event: LogEvent
    seq: int
    public_seq: int


def new_message_state(log_event: LogEvent) -> MessageState:
    return MessageState(
        log_event.subject_id, log_event.tenant_id, log_event.email_id, log_event.recipient.lower()
    )


def apply_events(
    state: MessageState, log_events: Iterable[LogEvent], *, first: Collection[str], now: datetime
) -> tuple[MessageState, list[LogEntry]]:
    """The state after these events, which are new, and their entries in causal order.

    first: ids of the events that are public once per email, and are the first of their email.
    """
    seq, public_seq, rank = state.seq, state.public_seq, state.rank
    closed, closed_at, delayed_at = state.closed, state.closed_at, state.delayed_at
    entries = []
    ordered = sorted(log_events, key=STEP)
    facts = merge_facts(state.facts, ordered)
    for log_event in ordered:
        seq += 1
        kind, number = log_event.kind, 0
        if kind not in NEVER_PUBLIC and is_public(
            log_event, first=first, closed=bool(closed), delayed_at=delayed_at, now=now
        ):
            public_seq += 1
            number = public_seq
            delayed_at = now if kind == EventKind.DELAYED else delayed_at
        entries.append(LogEntry(log_event, seq, number))
        rank = merge_rank(rank, log_event)
        if isinstance(log_event.payload, MessageClosed):
            closed, closed_at = (
                log_event.payload.state or CLOSED_STATE_FAILED,
                _closed_at(log_event.payload, now),
            )
    after = MessageState(
        *state[:4], seq, public_seq, rank, closed, closed_at, delayed_at, facts=facts
    )
    return after, entries


def merge_rank(rank: int, log_event: LogEvent) -> int:
    """The rank of a message after an event: the highest wins, except that a held message can be
    released, and one that is sent was."""
    if rank == StatusRank.HELD and (log_event.kind in SENDING_KINDS or is_release(log_event)):
        return StatusRank.SENT
    return max(rank, log_event.rank)


def is_public(
    log_event: LogEvent,
    *,
    first: Collection[str],
    closed: bool,
    delayed_at: datetime | None,
    now: datetime,
) -> bool:
    """Whether the tenant receives the event; the timeline has every event."""
    if log_event.kind in ONCE_PER_EMAIL:
        return log_event.event_id in first
    if log_event.kind == EventKind.SCREENED:
        return log_event.rank == StatusRank.HELD
    if log_event.kind == EventKind.REVIEWED:
        return is_release(log_event)  # of a rejection the close is public
    if log_event.kind == EventKind.DELAYED:
        return not closed and (delayed_at is None or now - delayed_at >= DELAY_NOTICE_INTERVAL)
    return log_event.kind in ALWAYS_PUBLIC


def _closed_at(event: MessageClosed, now: datetime) -> datetime:
    return times.clamp_timestamp(event.closed_at) if event.HasField("closed_at") else now
