"""Forwards mail to a person, as an attachment: RFC 2046 §5.2.1.

The new message has our own sender, so its signatures and its return path are ours, and what the
stranger signed stays as it was. Loops end by `Delivered-To` (RFC 9228) and by the number of relays
(RFC 5321 §6.3); programs do not answer what says `Auto-Submitted` (RFC 3834 §2).
"""

from hashlib import sha256
from typing import NamedTuple

from mail import headers, mime, parser
from mail.address import Mailbox
from mail.mime import Attachment, Part

HOPS_MAX = 50  # fields of relays; ordinary mail has fewer than 20
DELIVERED_TO = "delivered-to"
SUBJECT_MAX = 200  # characters
ADDRESS_MAX = 320


class Trace(NamedTuple):
    """Where a message has been. hops: its relays. delivered_to: addresses, in lower case."""

    hops: int
    delivered_to: tuple[str, ...]
    subject: str


class Forward(NamedTuple):
    """A message to a person. given_to: the addresses that it was sent to, in lower case; sender:
    of its envelope, None for a notification; client: the IP address that sent it."""

    content: bytes
    given_to: tuple[str, ...]
    sender: Mailbox | None
    client: str
    subject: str


def trace_of(raw: bytes) -> Trace:
    """Never raises."""
    entity = parser.parse_entity(raw)
    delivered = (one.strip(" <>").lower()[:ADDRESS_MAX] for one in entity.get_all(DELIVERED_TO))
    hops = sum(name == "received" for name, _ in entity.fields)
    subject = "".join(char for char in entity.get("subject") if char.isprintable())
    return Trace(hops, tuple(delivered)[:HOPS_MAX], subject[:SUBJECT_MAX])


def is_loop(trace: Trace, given_to: tuple[str, ...]) -> bool:
    """Whether the message has been here before, or has been on its way for too long."""
    return trace.hops > HOPS_MAX or not set(given_to).isdisjoint(trace.delivered_to)


def forward(mail: Forward, *, sender: Mailbox, to: Mailbox) -> bytes:
    """The message with the original attached, unsigned and without a date. The same for repeats of
    the same mail. Raises ValueError (of mail)."""
    who = mail.sender.address if mail.sender is not None else "<>"
    named = ", ".join(mail.given_to)
    seed = sha256(mail.content).hexdigest()[:16].encode()  # must not occur in the mail
    text = (
        f"This mail to {named} was sent by {who} from {mail.client}.\nIt is attached as it arrived."
    )
    parts = [mime.text_part("plain", text), _attachment(mail.content, seed)]
    root = mime.multipart("mixed", parts, seed)
    fields = [
        *(headers.encode_field("Delivered-To", one) for one in mail.given_to),
        headers.address_list_field("From", [sender]),
        headers.address_list_field("To", [to]),
        headers.text_field("Subject", f"[{named}] {mail.subject}".strip()),
        headers.encode_field("Auto-Submitted", "auto-generated"),
        b"MIME-Version: 1.0\r\n",
    ]
    if mail.sender is not None:
        fields.append(headers.address_list_field("Reply-To", [mail.sender]))
    return b"".join((*fields, *root.headers, b"\r\n", root.body))


def _attachment(content: bytes, seed: bytes) -> Part:
    """A message must not be encoded (RFC 2046 §5.2.1); one that would have to be is a file."""
    name = "message.eml"
    part = mime.attachment_part(Attachment(name, content, "message/rfc822"), seed)
    if b"Content-Transfer-Encoding: 7bit\r\n" in part.headers:
        return part
    return mime.attachment_part(Attachment(name, content, mime.TYPE_UNKNOWN), seed)
