"""An email as one of its recipients gets it: composed once, then named and signed per message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import Envelope
from kernel import times
from mail import address, headers, smtp
from mail.compose import Attachment, Email, compose
from mail.dkim import Signer, Unsigned, body_hash, sign_all
from mail.html import to_text

TEXT_FROM_MAX = 1_000_000  # characters of html: some 0.1 s


@dataclass(frozen=True, slots=True)
class Mail:
    """What goes over the wire for one recipient.

    wire: the message, dot-stuffed, without the final dot. size: octets before stuffing (RFC 1870).
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
class Draft:
    """The part that all recipients of an email share.

    wire: all of it, dot-stuffed. size: octets before that. utf8: it has headers that are not
    ASCII. hashed: for `bh=`. identified: it has a Message-ID, of the sender's own.
    """

    headers: tuple[bytes, ...]
    wire: bytes
    size: int
    utf8: bool
    hashed: bytes
    domain: str
    identified: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """The message of one recipient, before it is signed. identity: a field of this copy alone."""

    draft: Draft
    identity: bytes
    recipient: address.Mailbox
    sender: address.Mailbox | None
    unsigned: Unsigned
    envelope_id: str


def draft(content: Content) -> Draft:
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
            date=times.near(Timestamp(seconds=content.date_s)),
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
    return Draft(
        composed.headers,
        wire=smtp.stuff(whole),
        size=len(whole),
        utf8=not all(map(bytes.isascii, composed.headers)),
        hashed=body_hash(composed.body),
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


def letter(draft: Draft, envelope: Envelope, *, signer: Signer, now: datetime) -> Letter:
    """The message of one recipient. Its Message-ID is the same on every retry: the sender's own,
    which all copies have, or one of this copy alone.

    Raises ValueError (of mail) when an address of the envelope is not one.
    """
    own = () if draft.identified else (_message_id(envelope, draft),)
    return_path = envelope.return_path
    return Letter(
        draft,
        b"".join(own),
        recipient=address.parse(envelope.recipient),
        sender=address.parse(return_path) if return_path else None,
        unsigned=signer.prepare((*own, *draft.headers), draft.hashed, now),
        envelope_id=envelope.message_id,
    )


def _message_id(envelope: Envelope, draft: Draft) -> bytes:
    return headers.message_id(f"{envelope.message_id}@{draft.domain}")


def signed(letters: Sequence[Letter]) -> list[Mail]:
    """Their messages for the wire."""
    signatures = sign_all([one.unsigned for one in letters])
    return [_mail(one, signature) for one, signature in zip(letters, signatures, strict=True)]


def _mail(letter: Letter, signature: bytes) -> Mail:
    draft = letter.draft
    return Mail(
        letter.sender,
        letter.recipient,
        wire=b"".join((signature, letter.identity, draft.wire)),
        size=len(signature) + len(letter.identity) + draft.size,
        utf8=draft.utf8 or address.needs_smtputf8(letter.recipient),
        envelope_id=letter.envelope_id,
    )
