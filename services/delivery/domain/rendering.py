"""An email as one of its recipients gets it: composed once, then named and signed per message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import MessageContext
from kernel import times
from mail import address, headers, smtp
from mail.compose import Attachment, Email, compose
from mail.dkim import PendingSignatures, Signer, body_hash, sign_all
from mail.html import to_text

TEXT_FROM_MAX = 1_000_000  # characters of html: some 0.1 s


@dataclass(frozen=True, slots=True)
class WireMessage:
    """What goes over the wire for one recipient.

    wire: the message, dot-stuffed, without end of data. size: octets before stuffing (RFC 1870).
    utf8: it has headers or addresses that only SMTPUTF8 (RFC 6531) can carry. envelope_id: by which
    reports name it (RFC 3461), the same on every retry.
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

    wire: all of it, dot-stuffed. size: octets before that. utf8: it has headers that are not
    ASCII. body_hash: for `bh=`. identified: it has a Message-ID, of the sender's own.
    """

    headers: tuple[bytes, ...]
    wire: bytes
    size: int
    utf8: bool
    body_hash: bytes
    domain: str
    identified: bool


@dataclass(frozen=True, slots=True)
class UnsignedMessage:
    """The message of one recipient, before it is signed. identity: a field of this copy alone."""

    composed: ComposedEmail
    identity: bytes
    recipient: address.Mailbox
    sender: address.Mailbox | None
    unsigned: PendingSignatures
    envelope_id: str


def compose_email(content: Content) -> ComposedEmail:
    """Raises ValueError (of mail) with the reason when it cannot be written."""
    sender = address.parse(getattr(content, "from"))
    html = content.html  # each look makes a string anew
    composed = compose(
        Email(
            from_=sender,
            to=tuple(map(address.parse, content.to)),
            cc=tuple(map(address.parse, content.cc)),
            reply_to=tuple(map(address.parse, content.reply_to)),
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
    whole = composed.as_bytes()
    return ComposedEmail(
        composed.headers,
        wire=smtp.dot_stuff(whole),
        size=len(whole),
        utf8=not all(map(bytes.isascii, composed.headers)),
        body_hash=body_hash(composed.body),
        domain=address.domain(sender),
        identified=any(header.name.lower() == "message-id" for header in content.headers),
    )


def _text(content: Content, html: str) -> str | None:
    """The text part. Where the sender said nothing of one, what the html says; none for a text that
    was left empty on purpose, and for a page of which nothing or too much is left.
    """
    if content.HasField("text") or not html:
        return content.text if content.text or not html else None
    return (to_text(html, targets=True) if len(html) <= TEXT_FROM_MAX else "") or None


def prepare_message(
    composed: ComposedEmail, context: MessageContext, *, signer: Signer, now: datetime
) -> UnsignedMessage:
    """The message of one recipient. Its Message-ID is the same on every retry: the sender's own,
    which all copies have, or one of this copy alone.

    Raises ValueError (of mail) when an address of the context is not one.
    """
    own = () if composed.identified else (_message_id(context, composed),)
    return_path = context.return_path
    return UnsignedMessage(
        composed,
        b"".join(own),
        recipient=address.parse(context.recipient),
        sender=address.parse(return_path) if return_path else None,
        unsigned=signer.prepare((*own, *composed.headers), composed.body_hash, now),
        envelope_id=context.message_id,
    )


def _message_id(context: MessageContext, composed: ComposedEmail) -> bytes:
    return headers.message_id(f"{context.message_id}@{composed.domain}")


def sign_messages(messages: Sequence[UnsignedMessage]) -> list[WireMessage]:
    """Their messages for the wire."""
    signatures = sign_all([one.unsigned for one in messages])
    return [_mail(one, signature) for one, signature in zip(messages, signatures, strict=True)]


def _mail(message: UnsignedMessage, signature: bytes) -> WireMessage:
    composed = message.composed
    return WireMessage(
        message.sender,
        message.recipient,
        wire=b"".join((signature, message.identity, composed.wire)),
        size=len(signature) + len(message.identity) + composed.size,
        utf8=composed.utf8 or address.needs_smtputf8(message.recipient),
        envelope_id=message.envelope_id,
    )
