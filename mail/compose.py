"""Composing a message from its parts: RFC 5322, RFC 2045 to 2047, RFC 2183, 2231, 2387, 2392.

The body is 7-bit, so that no server must convert it after it is signed (RFC 6376 §5.3). ASCII text
with short lines is not encoded; other text becomes quoted-printable or base64, whichever is
shorter. Date and Message-ID come from the caller. There is no field for Bcc, so it cannot be sent.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

from mail import headers, mime
from mail.address import Mailbox
from mail.headers import HeaderError
from mail.mime import Attachment, Part

__all__ = ["Attachment", "ComposedMessage", "Email", "HeaderError", "compose", "custom_headers"]

TextPart = Callable[[str, str], Part]
"""Builds a part from a subtype and text."""


@dataclass(frozen=True, slots=True)
class Email:
    """The parts of a message. Without `text` and `html` the text is empty.

    `headers`: the customer's; names that the engine writes are rejected. They can contain Reply-To
    (`reply_to` takes precedence) and Message-ID (which takes precedence over `message_id`).
    `message_id` and `date` can be added later per recipient by `ComposedMessage.with_headers`.
    """

    from_: Mailbox
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    subject: str = ""
    date: datetime | None = None
    message_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class ComposedMessage:
    """A message: folded header fields, each with its CRLF, and the body with CRLF line ends."""

    headers: tuple[bytes, ...]
    body: bytes

    def with_headers(self, *fields: bytes) -> "ComposedMessage":
        """The message with more fields (made by `mail.headers`) on top."""
        return ComposedMessage((*fields, *self.headers), self.body)

    def as_bytes(self) -> bytes:
        """The whole message."""
        return b"".join((*self.headers, b"\r\n", self.body))

    @property
    def size(self) -> int:
        """Octets before dot-stuffing, as SIZE= declares them (RFC 1870)."""
        return sum(map(len, self.headers)) + 2 + len(self.body)


def compose(email: Email, *, eight_bit: bool = False) -> ComposedMessage:
    """The message, in 7 bits unless `eight_bit`.

    Raises HeaderError, AddressError or MimeError.
    """
    return compose_with(email, mime.eight_bit_text if eight_bit else mime.text_part)


def compose_with(email: Email, text_part: TextPart) -> ComposedMessage:
    """`compose` with another builder of text parts, for `mail_merge`."""
    fields = _address_fields(email)
    fields.append(headers.text_field("Subject", email.subject))
    if email.message_id is not None and "message-id" not in map(str.lower, email.headers):
        fields.append(headers.message_id_field(email.message_id))
    fields += custom_headers(
        {n: v for n, v in email.headers.items() if not (email.reply_to and n.lower() == "reply-to")}
    )
    fields.append(b"MIME-Version: 1.0\r\n")
    root = _structure(email, b"".join(fields), text_part)
    return ComposedMessage((*fields, *root.headers), root.body)


def custom_headers(given: Mapping[str, str]) -> list[bytes]:
    """The customer's headers as fields. Raises HeaderError for a reserved or repeated name, a line
    break or NUL.
    """
    headers.check_distinct(given)
    return [headers.custom_field(name, value) for name, value in given.items()]


def _address_fields(email: Email) -> list[bytes]:
    fields = [headers.date_field(email.date)] if email.date is not None else []
    fields.append(headers.address_list_field("From", (email.from_,)))
    named: Iterable[tuple[str, tuple[Mailbox, ...]]] = (
        ("To", email.to),
        ("Cc", email.cc),
        ("Reply-To", email.reply_to),
    )
    fields += [headers.address_list_field(name, boxes) for name, boxes in named if boxes]
    return fields


def _structure(email: Email, seed: bytes, text_part: TextPart) -> Part:
    """The MIME tree: mixed(alternative(text, related(html, inline images)), attachments)."""
    boundary = blake2b(seed, digest_size=12).hexdigest().encode("ascii")
    with_html = email.html is not None
    inline = [a for a in email.attachments if a.content_id and with_html]
    attached = [a for a in email.attachments if not (a.content_id and with_html)]
    root = _text_parts(email, inline, boundary, text_part=text_part)
    if attached:
        parts = [root, *[mime.attachment_part(a, boundary) for a in attached]]
        root = mime.multipart("mixed", parts, b"m" + boundary)
    return root


def _text_parts(
    email: Email, inline: list[Attachment], boundary: bytes, *, text_part: TextPart
) -> Part:
    if email.html is None:
        return text_part("plain", email.text or "")
    html = text_part("html", email.html)
    if inline:
        parts = [html, *[mime.attachment_part(a, boundary) for a in inline]]
        html = mime.multipart("related", parts, b"r" + boundary)
    if email.text is None:
        return html
    return mime.multipart("alternative", [text_part("plain", email.text), html], b"a" + boundary)
