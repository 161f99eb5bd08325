"""The timeline of an email: the events of its messages, by time and in causal order."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived, DeliveryAttempted
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import MessageClosed
from kernel import times
from services.events.domain.log_event import LogEvent


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
        latest = at if latest is None else min(at, latest)
        timed.append(replace(entry, at=latest))
    return timed


def occurred_at(log_event: LogEvent) -> datetime | None:
    """The time in an event; None if it has none."""
    event = log_event.payload
    if isinstance(event, MessageAccepted):
        return _time_or_none(event.context.accepted_at)
    if isinstance(event, DeliveryAttempted):
        return _time_or_none(event.attempted_at)
    if isinstance(event, MessageClosed):
        return _time_or_none(event.closed_at)
    if isinstance(event, ComplaintReceived | BounceReceived):
        return _time_or_none(event.received_at)
    return None


def _time_or_none(moment: Timestamp) -> datetime | None:
    return times.clamp_timestamp(moment) if moment.seconds else None
