"""An email as one of its recipients gets it: composed once, then named and signed per message."""

from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import Envelope
from mail import address, headers, smtp
from mail.compose import Attachment, Composed, Email, compose
from mail.dkim import Signer


@dataclass(frozen=True, slots=True)
class Mail:
    """What goes over the wire for one recipient.

    wire: the message, dot-stuffed, without the final dot. size: octets before stuffing (RFC 1870).
    utf8: it has headers or addresses that only SMTPUTF8 (RFC 6531) can carry.
    """

    sender: address.Mailbox | None
    recipient: address.Mailbox
    wire: bytes
    size: int
    utf8: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """The part that all recipients of an email share; `stuffed` is its body for the wire."""

    composed: Composed
    stuffed: bytes
    domain: str


def draft(content: Content) -> Draft:
    """Raises ValueError (of mail) with the reason when it cannot be written."""
    sender = address.parse(getattr(content, "from"))
    composed = compose(
        Email(
            from_=sender,
            to=tuple(map(address.parse, content.to)),
            cc=tuple(map(address.parse, content.cc)),
            reply_to=tuple(map(address.parse, content.reply_to)),
            subject=content.subject,
            date=datetime.fromtimestamp(content.date_s, UTC),
            headers={header.name: header.value for header in content.headers},
            text=content.text if content.text or not content.html else None,
            html=content.html or None,
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
    body = smtp.normalise(composed.body)
    composed = Composed(composed.headers, body)
    # The header block ends in CRLF, so a dot at the start of the body is at the start of a line.
    return Draft(composed, smtp.stuff(body), address.domain(sender))


def render(draft: Draft, envelope: Envelope, *, signer: Signer, now: datetime) -> Mail:
    """The message of one recipient. Its Message-ID is the same on every retry.

    Raises ValueError (of mail) when an address of the envelope is not one.
    """
    identified = draft.composed.with_headers(
        headers.message_id(f"{envelope.message_id}@{draft.domain}")
    )
    signature = signer.sign(identified.headers, identified.body, now)
    head = b"".join((signature, *identified.headers, b"\r\n"))
    recipient = address.parse(envelope.recipient)
    return Mail(
        sender=address.parse(envelope.return_path) if envelope.return_path else None,
        recipient=recipient,
        wire=smtp.stuff(head) + draft.stuffed,
        size=len(signature) + identified.size,
        utf8=address.needs_smtputf8(recipient) or not head.isascii(),
    )
