"""The events of router, created from rows."""

from typing import NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import DeliveryAttempted, Reply
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed, MessageDelayed
from services.router.domain.message import CLOSED, MessageRowState, ScheduledQueue


class ClosedRow(NamedTuple):
    """A closed row. Its MessageClosed can be published again at any time."""

    message_id: str
    state: str
    reason: str
    attempt: int
    ambiguous: bool
    reply: bytes
    bounce_class: str
    closed_s: float
    context: bytes
    queue_id: str  # empty without a row

    @classmethod
    def expired(cls, message_id: str, context: bytes, *, closed_s: float) -> "ClosedRow":
        """An expired message without a row, because its day partition was dropped."""
        return cls(message_id, "failed", "expired", 0, False, b"", "", closed_s, context, "")


def timestamp(unix_s: float) -> Timestamp:
    """A timestamp with microseconds, like the database."""
    whole, micros = divmod(round(unix_s * 1e6), 1_000_000)
    return Timestamp(seconds=whole, nanos=micros * 1000)


def unix_s(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9


def message_closed(row: ClosedRow) -> MessageClosed:
    context = parse_context_or_empty(row.context)
    event = MessageClosed(
        message_id=row.message_id,
        tenant_id=context.tenant_id,
        email_id=context.email_id,
        recipient=context.recipient,
        state=CLOSED[MessageRowState(row.state)],
        reason=row.reason,
        bounce_class=row.bounce_class,
        attempt=row.attempt,
        ambiguous=row.ambiguous,
        test=context.test,
        closed_at=timestamp(row.closed_s),
        site=ScheduledQueue.of(row.queue_id).site if row.attempt else "",
    )
    if row.reply:
        event.reply.ParseFromString(row.reply)
    return event


def parse_context_or_empty(context: bytes) -> MessageContext:
    """The context, or an empty one if it cannot be parsed: the message can still be closed."""
    try:
        return MessageContext.FromString(context)
    except DecodeError:
        return MessageContext()


def message_delayed(
    event: DeliveryAttempted, *, attempt_count: int, next_s: float, ambiguous: bool
) -> MessageDelayed:
    return MessageDelayed(
        message_id=event.message_id,
        attempt=event.attempt,
        tenant_id=event.tenant_id,
        email_id=event.email_id,
        recipient=event.recipient,
        attempt_count=attempt_count,
        next_attempt_at=timestamp(next_s),
        reply=event.reply if event.HasField("reply") else None,
        ambiguous=ambiguous,
        test=event.test,
        site=event.site,
    )


class AssignmentToRepublish(NamedTuple):
    """An assigned row. Its DeliveryAssigned can be published again at any time."""

    message_id: str
    attempt: int
    attempt_count: int
    ambiguous: bool
    assignment: bytes
    context: bytes


def delivery_assigned(row: AssignmentToRepublish) -> DeliveryAssigned:
    """The event, with the same bytes each time, because the assignment is stored with the row."""
    event = DeliveryAssigned.FromString(row.assignment)
    event.message_id = row.message_id
    event.attempt = row.attempt
    event.attempt_count = row.attempt_count
    event.ambiguous = row.ambiguous
    event.context.ParseFromString(row.context)
    return event


def serialize_truncated(reply: Reply) -> bytes:
    """A reply for a row. Its text is truncated here too, because it comes from another process."""
    if len(reply.text) > 1024:
        reply.text = reply.text[:1024]
    return reply.SerializeToString()
