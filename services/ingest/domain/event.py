"""MessageAccepted, made from a draft; and made again from the one that was kept."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.directory_pb2 import ApiKey
from contracts.ingest.v1.events_pb2 import MessageAccepted
from mail import address, verp
from services.ingest.domain.draft import Draft, Recipient

SUBJECT_CHARS_MAX = 998
TO_CHARS_MAX = 16_000  # beyond, display names are left out: an event has room for 64 KiB
FROM_CHARS_MAX = 2_000


class Ids(NamedTuple):
    """message_ids: one per recipient, in their order."""

    email_id: str
    message_ids: Sequence[str]


class Times(NamedTuple):
    accepted: datetime
    due: datetime
    expires: datetime


class Origin(NamedTuple):
    """Who sends, through which door, and how it returns."""

    key: ApiKey
    domain_id: str
    return_path_host: str
    return_path_key: bytes
    traceparent: str


def accepted(
    draft: Draft, ids: Ids, origin: Origin, *, message_class: int, times: Times
) -> MessageAccepted:
    """The event of the first message. Where its body is, is added when that is known."""
    content = draft.content
    to = list(content.to)
    if sum(map(len, to)) > TO_CHARS_MAX:
        to = [address.parse(text).address for text in to]
    given_from = getattr(content, "from")
    event = MessageAccepted(
        message_id=ids.message_ids[0],
        message_class=message_class,  # type: ignore[arg-type]
        api_key_id=origin.key.key_id,
        to=to,
        subject=content.subject[:SUBJECT_CHARS_MAX],
        tags=draft.tags or None,
        metadata=draft.metadata or None,
        account_id=origin.key.account_id,
        stream=draft.stream,
    )
    short = len(given_from) <= FROM_CHARS_MAX
    setattr(event, "from", given_from if short else draft.sender.address)
    _fill(event, draft, origin, ids=ids, times=times)
    return event


def _fill(event: MessageAccepted, draft: Draft, origin: Origin, *, ids: Ids, times: Times) -> None:
    """The envelope in its place: one that is made apart is copied once more."""
    envelope = event.envelope
    first = draft.recipients[0]
    envelope.message_id = ids.message_ids[0]
    envelope.email_id = ids.email_id
    envelope.tenant_id = origin.key.tenant_id
    envelope.domain_id = origin.domain_id
    envelope.recipient = first.address
    envelope.recipient_type = first.type  # type: ignore[assignment]
    envelope.message_class = event.message_class
    envelope.test = draft.test
    envelope.sender = draft.sender.address
    envelope.traceparent = origin.traceparent
    envelope.return_path = return_path(ids.message_ids[0], origin)
    _set(envelope.accepted_at, times.accepted)
    _set(envelope.due_at, times.due)
    _set(envelope.expires_at, times.expires)


def return_path(message_id: str, origin: Origin) -> str:
    host, key = origin.return_path_host, origin.return_path_key
    return verp.make(UUID(message_id), host, key=key).address


def for_recipients(
    first: MessageAccepted, recipients: Sequence[tuple[str, Recipient]], return_path_key: bytes
) -> Iterator[MessageAccepted]:
    """The events of all messages of an email (id and recipient) from that of its first one."""
    host = first.envelope.return_path.rpartition("@")[2]
    for message_id, recipient in recipients:
        if message_id == first.message_id:
            yield first
            continue
        event = MessageAccepted()
        event.CopyFrom(first)
        event.message_id = event.envelope.message_id = message_id
        event.envelope.recipient = recipient.address
        event.envelope.recipient_type = recipient.type  # type: ignore[assignment]
        path = verp.make(UUID(message_id), host, key=return_path_key)
        event.envelope.return_path = path.address
        yield event


def timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    _set(stamp, moment)
    return stamp


def _set(stamp: Timestamp, moment: datetime) -> None:
    """Faster than FromDatetime, which counts in days."""
    stamp.seconds = int(moment.timestamp())
    stamp.nanos = moment.microsecond * 1000
