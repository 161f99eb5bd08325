"""The timeline of an email: its messages' facts by cause, then by time."""

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
from services.events.domain.facts import Fact


@dataclass(frozen=True, slots=True)
class Line:
    """at: when it happened, as far as is known; until it is placed, when it was recorded."""

    fact: Fact
    position: str
    seq: int
    told: int
    at: datetime


def placed(lines: Iterable[Line]) -> list[Line]:
    """Oldest first. Facts are recorded in any order and some carry no time of their own; such a
    one happened before it was recorded, before what it caused, and after its cause."""
    by_message: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_message[line.fact.subject_id].append(line)
    return sorted(
        (line for some in by_message.values() for line in _timed(some)),
        key=lambda line: (line.at, line.fact.step, line.position),
    )


def _timed(lines: Iterable[Line]) -> list[Line]:
    ordered = sorted(lines, key=attrgetter("fact.step", "position"), reverse=True)
    timed: list[Line] = []
    latest: datetime | None = None
    for line in ordered:
        at = happened_at(line.fact) or line.at
        latest = at if latest is None else min(at, latest)
        timed.append(replace(line, at=latest))
    return timed


def happened_at(fact: Fact) -> datetime | None:
    """The time that an event carries, where it does."""
    event = fact.event
    if isinstance(event, MessageAccepted):
        return _known(event.envelope.accepted_at)
    if isinstance(event, DeliveryAttempted):
        return _known(event.attempted_at)
    if isinstance(event, MessageClosed):
        return _known(event.closed_at)
    if isinstance(event, ComplaintReceived | BounceReceived):
        return _known(event.received_at)
    return None


def _known(moment: Timestamp) -> datetime | None:
    return times.near(moment) if moment.seconds else None
