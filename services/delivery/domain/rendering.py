"""Renders emails: composed once, then given a Message-ID and signed per message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import MessageContext
from kernel import times
from mail import address, headers, smtp, submission
from mail.compose import Attachment, ComposedMessage, Email, compose
from mail.dkim import PendingSignatures, Signer, body_hash, sign_all
from mail.downgrade import downgrade
from mail.html import to_text

HTML_TO_TEXT_CHARS_MAX = 1_000_000  # some 0.1 s


@dataclass(frozen=True, slots=True)
class WireMessage:
    """A message to one recipient, as sent.

    wire: the message, dot-stuffed, without end of data. size: octets before stuffing (RFC 1870).
    utf8: its headers or addresses need SMTPUTF8 (RFC 6531). envelope_id: identifies it in delivery
    status notifications (RFC 3461); the same on every attempt.
    """

    sender: address.Mailbox | None
    recipient: address.Mailbox
    wire: bytes
    size: int
    utf8: bool
    envelope_id: str = ""


@dataclass(frozen=True, slots=True)
class ComposedEmail:
    """The part that all recipients of an email share.

    wire: headers and body, dot-stuffed. size: octets before stuffing. utf8: it has headers that are
    not ASCII. body_hash: for `bh=`. has_message_id: the sender gave a Message-ID.
    """

    headers: tuple[bytes, ...]
    wire: bytes
    size: int
    utf8: bool
    body_hash: bytes
    domain: str
    has_message_id: bool


@dataclass(frozen=True, slots=True)
class UnsignedMessage:
    """The message to one recipient, before it is signed. message_id_header: empty if the composed
    email has one."""

    composed: ComposedEmail
    message_id_header: bytes
    recipient: address.Mailbox
    sender: address.Mailbox | None
    signatures: PendingSignatures
    envelope_id: str


def compose_email(content: Content) -> ComposedEmail:
    """Compose an email. Raises ValueError (of mail) with the reason when that is not possible."""
    sender = address.parse_mailbox(getattr(content, "from"))
    raw = content.raw
    composed = _complete(raw, content.date_s) if raw else _compose(content, sender)
    message = composed.as_bytes()
    return ComposedEmail(
        composed.headers,
        wire=smtp.dot_stuff(message),
        size=len(message),
        utf8=not all(map(bytes.isascii, composed.headers)),
        body_hash=body_hash(composed.body),
        domain=address.ascii_domain(sender),
        has_message_id=submission.has_field(composed, b"message-id"),
    )


def _complete(raw: bytes, date_s: int) -> ComposedMessage:
    """A message that was submitted as a whole, with a date, in 7 bits and in short lines."""
    date = times.clamp_timestamp(Timestamp(seconds=date_s))
    return downgrade(submission.add_missing_fields(submission.split_message(raw), date=date))


def _compose(content: Content, sender: address.Mailbox) -> ComposedMessage:
    html = content.html  # each access creates a new string
    return compose(
        Email(
            from_=sender,
            to=tuple(map(address.parse_mailbox, content.to)),
            cc=tuple(map(address.parse_mailbox, content.cc)),
            reply_to=tuple(map(address.parse_mailbox, content.reply_to)),
            subject=content.subject,
            date=times.clamp_timestamp(Timestamp(seconds=content.date_s)),
            headers={header.name: header.value for header in content.headers},
            text=_text(content, html),
            html=html or None,
            attachments=tuple(
                Attachment(
                    part.filename,
                    part.content,
                    part.content_type or "application/octet-stream",
                    part.content_id or None,
                )
                for part in content.attachments
            ),
        )
    )


def _text(content: Content, html: str) -> str | None:
    """The text part: the sender's, or else the text of the HTML part. None if the sender gave an
    empty text, or if the HTML part has no text or is too long."""
    if content.HasField("text") or not html:
        return content.text if content.text or not html else None
    return (to_text(html, targets=True) if len(html) <= HTML_TO_TEXT_CHARS_MAX else "") or None


def prepare_message(
    composed: ComposedEmail, context: MessageContext, *, signer: Signer, now: datetime
) -> UnsignedMessage:
    """The message to one recipient. Its Message-ID is the same on every attempt: the one that the
    sender gave, which all recipients get, or a generated one for this recipient.

    Raises ValueError (of mail) when an address of the context is invalid.
    """
    message_id = () if composed.has_message_id else (_message_id(context, composed),)
    return_path = context.return_path
    return UnsignedMessage(
        composed,
        b"".join(message_id),
        recipient=address.parse_mailbox(context.recipient),
        sender=address.parse_mailbox(return_path) if return_path else None,
        signatures=signer.prepare((*message_id, *composed.headers), composed.body_hash, now),
        envelope_id=context.message_id,
    )


def _message_id(context: MessageContext, composed: ComposedEmail) -> bytes:
    return headers.message_id_field(f"{context.message_id}@{composed.domain}")


def sign_messages(messages: Sequence[UnsignedMessage]) -> list[WireMessage]:
    """Sign messages together, which is faster than one by one."""
    signatures = sign_all([one.signatures for one in messages])
    return [_wire(one, signature) for one, signature in zip(messages, signatures, strict=True)]


def _wire(message: UnsignedMessage, signature: bytes) -> WireMessage:
    composed = message.composed
    return WireMessage(
        message.sender,
        message.recipient,
        wire=b"".join((signature, message.message_id_header, composed.wire)),
        size=len(signature) + len(message.message_id_header) + composed.size,
        utf8=composed.utf8 or address.needs_smtputf8(message.recipient),
        envelope_id=message.envelope_id,
    )
