"""The events that router tells, made of rows."""

from typing import NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import DeliveryAttempted, Reply
from contracts.ingest.v1.events_pb2 import Envelope
from contracts.router.v1.events_pb2 import (
    DeliveryAssigned,
    MessageClosed,
    MessageDelayed,
)
from services.router.domain.message import CLOSED, State


class Final(NamedTuple):
    """A closed row, as it can be told at any time again."""

    message_id: str
    state: str
    reason: str
    attempt: int
    ambiguous: bool
    reply: bytes
    bounce_class: str
    closed_s: float
    envelope: bytes

    @classmethod
    def expired(cls, message_id: str, envelope: bytes, *, closed_s: float) -> "Final":
        """Of a message that has no row, and may not get one any more."""
        return cls(message_id, "failed", "expired", 0, False, b"", "", closed_s, envelope)


def timestamp(unix_s: float) -> Timestamp:
    """To the microsecond, like the database."""
    whole, micros = divmod(round(unix_s * 1e6), 1_000_000)
    return Timestamp(seconds=whole, nanos=micros * 1000)


def seconds(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9


def closed(row: Final) -> MessageClosed:
    envelope = readable(row.envelope)
    event = MessageClosed(
        message_id=row.message_id,
        tenant_id=envelope.tenant_id,
        email_id=envelope.email_id,
        recipient=envelope.recipient,
        state=CLOSED[State(row.state)],
        reason=row.reason,
        bounce_class=row.bounce_class,
        attempt=row.attempt,
        ambiguous=row.ambiguous,
        test=envelope.test,
        closed_at=timestamp(row.closed_s),
    )
    if row.reply:
        event.reply.ParseFromString(row.reply)
    return event


def readable(envelope: bytes) -> Envelope:
    """Empty where nobody can read it: what is told of such a message is that it ended."""
    try:
        return Envelope.FromString(envelope)
    except DecodeError:
        return Envelope()


def delayed(
    event: DeliveryAttempted, *, tries: int, next_s: float, ambiguous: bool
) -> MessageDelayed:
    return MessageDelayed(
        message_id=event.message_id,
        attempt=event.attempt,
        tenant_id=event.tenant_id,
        email_id=event.email_id,
        recipient=event.recipient,
        tries=tries,
        next_attempt_at=timestamp(next_s),
        reply=event.reply if event.HasField("reply") else None,
        ambiguous=ambiguous,
        test=event.test,
    )


class Asked(NamedTuple):
    """An assigned row, as it can be told at any time again."""

    message_id: str
    attempt: int
    tries: int
    ambiguous: bool
    assignment: bytes
    envelope: bytes


def assigned(row: Asked) -> DeliveryAssigned:
    """The same bytes whenever it is told: the assignment was stored with the row."""
    event = DeliveryAssigned.FromString(row.assignment)
    event.message_id = row.message_id
    event.attempt = row.attempt
    event.tries = row.tries
    event.ambiguous = row.ambiguous
    event.envelope.ParseFromString(row.envelope)
    return event


def bounded(reply: Reply) -> bytes:
    """A reply for a row: its text bounded once more, because it came from outside."""
    if len(reply.text) > 1024:
        reply.text = reply.text[:1024]
    return reply.SerializeToString()
