"""The timeline of an email: the events of its messages, by time and in causal order."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived, DeliveryAttempted
from contracts.events.v1.events_pb2 import LinkClicked, MessageOpened, RecipientUnsubscribed
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import MessageClosed
from kernel import times
from services.events.domain.log_event import ENGAGEMENT_KINDS, LogEvent


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """at: when the event occurred, as far as known; before ordering, when it was recorded."""

    event: LogEvent
    position: str
    seq: int
    public_seq: int
    at: datetime


def order_timeline(entries: Iterable[TimelineEntry]) -> list[TimelineEntry]:
    """Oldest first. Events are recorded in any order, and some have no time of their own: such an
    event occurred before it was recorded, before its consequences, and after its cause."""
    by_message: dict[str, list[TimelineEntry]] = defaultdict(list)
    for entry in entries:
        by_message[entry.event.subject_id].append(entry)
    return sorted(
        (entry for some in by_message.values() for entry in _assign_times(some)),
        key=lambda entry: (entry.at, entry.event.step, entry.position),
    )


def _assign_times(entries: Iterable[TimelineEntry]) -> list[TimelineEntry]:
    ordered = sorted(entries, key=attrgetter("event.step", "position"), reverse=True)
    timed: list[TimelineEntry] = []
    latest: datetime | None = None
    for entry in ordered:
        at = occurred_at(entry.event) or entry.at
        if entry.event.kind in ENGAGEMENT_KINDS:  # no consequence of what was recorded before it
            timed.append(replace(entry, at=at))
            continue
        latest = at if latest is None else min(at, latest)
        timed.append(replace(entry, at=latest))
    return timed


# The fields with the time of an event.
_TIME_OF: dict[type[Message], Callable[[Any], Timestamp]] = {
    MessageAccepted: attrgetter("context.accepted_at"),
    DeliveryAttempted: attrgetter("attempted_at"),
    MessageClosed: attrgetter("closed_at"),
    ComplaintReceived: attrgetter("received_at"),
    BounceReceived: attrgetter("received_at"),
    MessageOpened: attrgetter("hit.at"),
    LinkClicked: attrgetter("hit.at"),
    RecipientUnsubscribed: attrgetter("unsubscribed_at"),
}


def occurred_at(log_event: LogEvent) -> datetime | None:
    """The time in an event; None if it has none."""
    time_of = _TIME_OF.get(type(log_event.payload))
    return _time_or_none(time_of(log_event.payload)) if time_of else None


def _time_or_none(moment: Timestamp) -> datetime | None:
    return times.clamp_timestamp(moment) if moment.seconds else None
