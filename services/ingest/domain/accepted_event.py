"""Build MessageAccepted from a valid email, and rebuild it from the stored one."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.content_pb2 import Header
from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Mailbox, Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from mail import address, verp
from services.ingest.domain.valid_email import Recipient, ValidEmail

SUBJECT_CHARS_MAX = 998
TO_CHARS_MAX = 16_000  # display names are omitted above this limit: an event has at most 64 KiB
FROM_CHARS_MAX = 2_000
HEADERS_CHARS_MAX = 4_000


class EmailIds(NamedTuple):
    """message_ids: one per recipient, in their order."""

    email_id: str
    message_ids: Sequence[str]


class MessageTimes(NamedTuple):
    accepted: datetime
    due: datetime
    expires: datetime


class MessageOrigin(NamedTuple):
    """The key or the mailbox, tenant and domain of the sender. key: for a mailbox, one without an
    id."""

    key: ApiKey
    tenant: Tenant
    domain: Domain
    return_path_key: bytes
    traceparent: str
    mailbox: Mailbox | None = None


def message_accepted(
    email: ValidEmail, ids: EmailIds, origin: MessageOrigin, *, priority: int, times: MessageTimes
) -> MessageAccepted:
    """The event of the first message. Its content reference is added later."""
    content = email.content
    to = list(content.to)
    if sum(map(len, to)) > TO_CHARS_MAX:
        to = [address.parse_mailbox(text).address for text in to]
    given_from = getattr(content, "from")
    event = MessageAccepted(
        message_id=ids.message_ids[0],
        priority=priority,  # type: ignore[arg-type]
        api_key_id=origin.key.key_id,
        to=to,
        subject=content.subject[:SUBJECT_CHARS_MAX],
        tags=email.tags or None,
        metadata=email.metadata or None,
        account_id=origin.tenant.account_id,
        stream=email.stream,
        own_message_id=email.own_message_id,
        headers=first_headers(content.headers) if content.headers else None,
    )
    short = len(given_from) <= FROM_CHARS_MAX
    setattr(event, "from", given_from if short else email.sender.address)
    _fill(event, email, origin, ids=ids, times=times)
    return event


def first_headers(given: Iterable[Header]) -> Iterator[Header]:
    """As many as fit into the event; webhooks have them, as Resend's do."""
    room = HEADERS_CHARS_MAX
    for one in given:
        room -= len(one.name) + len(one.value)
        if room < 0:
            return
        yield one


def _fill(
    event: MessageAccepted,
    email: ValidEmail,
    origin: MessageOrigin,
    *,
    ids: EmailIds,
    times: MessageTimes,
) -> None:
    """Fill the context in place, which saves a copy."""
    context = event.context
    first = email.recipients[0]
    context.message_id = ids.message_ids[0]
    context.email_id = ids.email_id
    context.tenant_id = origin.tenant.tenant_id
    context.domain_id = origin.domain.domain_id
    context.api_key_id = origin.key.key_id
    if origin.mailbox is not None:
        context.mailbox_id = origin.mailbox.mailbox_id
    context.recipient = first.address
    context.recipient_type = first.type  # type: ignore[assignment]
    context.priority = event.priority
    context.test = email.test
    context.tls_enforced = email.tls_enforced or origin.domain.tls_enforced
    context.broadcast = email.stream == "broadcast"
    context.list = email.list
    context.sender = email.sender.address
    context.traceparent = origin.traceparent
    context.return_path = return_path(ids.message_ids[0], origin)
    _set(context.accepted_at, times.accepted)
    _set(context.due_at, times.due)
    _set(context.expires_at, times.expires)


def return_path(message_id: str, origin: MessageOrigin) -> str:
    host, key = origin.domain.return_path_host, origin.return_path_key
    return verp.return_path(UUID(message_id), host, key=key).address


def events_for_recipients(
    first: MessageAccepted, recipients: Sequence[tuple[str, Recipient]], return_path_key: bytes
) -> Iterator[MessageAccepted]:
    """The events of all messages of an email, derived from that of the first. recipients: with
    message ids."""
    host = first.context.return_path.rpartition("@")[2]
    for message_id, recipient in recipients:
        if message_id == first.message_id:
            yield first
            continue
        event = MessageAccepted()
        event.CopyFrom(first)
        event.message_id = event.context.message_id = message_id
        event.context.recipient = recipient.address
        event.context.recipient_type = recipient.type  # type: ignore[assignment]
        path = verp.return_path(UUID(message_id), host, key=return_path_key)
        event.context.return_path = path.address
        yield event


def timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    _set(stamp, moment)
    return stamp


def _set(stamp: Timestamp, moment: datetime) -> None:
    """Faster than FromDatetime, which computes with days."""
    stamp.seconds = int(moment.timestamp())
    stamp.nanos = moment.microsecond * 1000
