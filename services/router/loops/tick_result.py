"""What a tick of the scheduler decided."""

from collections.abc import Iterable
from typing import NamedTuple

from google.protobuf.message import Message

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.outbox import OutboxEntry
from kernel.telemetry import record_span
from kernel.topics import encode


class TickResult(NamedTuple):
    """has_bulk: bulk mail is assigned. queues, events: the number that was read, and decided.
    next_s: when there is something to do. has_due: queues with later work have become due."""

    entry: OutboxEntry
    has_bulk: bool
    queues: int
    events: int
    now_s: float
    next_s: float
    has_due: bool


def encode_events(events: Iterable[Message], *, began_ns: int) -> list[Outgoing]:
    """The records of a tick that began at began_ns (Unix time)."""
    now = clock.now()
    return [encode(one, now, record_assignment_span(one, began_ns=began_ns)) for one in events]


def record_assignment_span(event: Message, *, began_ns: int) -> bytes | None:
    """Record the assignment of a message as a span; return the trace context for its event. The
    event itself keeps that of its message, since it has the same bytes when it is repeated."""
    if not isinstance(event, DeliveryAssigned):
        return None
    trace = event.context.traceparent.encode()
    return record_span("router.assign", trace, began_ns=began_ns)


def is_bulk(event: Message) -> bool:
    return isinstance(event, DeliveryAssigned) and event.priority == PRIORITY_BULK
