"""A valid email from a complete message (RFC 5322) and its envelope."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import RecipientType
from mail import address, parser, smtp, submission
from mail.address import AddressError, Mailbox
from mail.parser import Entity
from mail.submission import SubmissionError
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.valid_email import Recipient, ValidEmail

HOPS_MAX = 100  # Received fields: a loop (RFC 5321 §6.3)
LISTED_MAX = 50  # addresses of To and Cc that are listed
SUBJECT_CHARS_MAX = 5_000
# Fields for the engine, which are not sent.
IDEMPOTENCY_FIELDS = ("idempotency-key", "resend-idempotency-key")
_KEY = re.compile(r"[\x20-\x7e]{1,256}")


class RawEmail(NamedTuple):
    """idempotency_key: from the header."""

    valid: ValidEmail
    idempotency_key: str | None


def read_raw_email(raw: bytes, recipients: Sequence[Mailbox] | None, *, test: bool) -> RawEmail:
    """recipients: of the envelope, which alone decides who receives it; None for those that the
    header names. Raises Problem."""
    normal = smtp.normalize_line_endings(raw)  # before parsing: a CR alone may hide a field
    try:
        message = submission.accept_normal(normal, without=IDEMPOTENCY_FIELDS)
    except SubmissionError as error:
        raise _invalid(f"The message cannot be sent: {error}.") from None
    header = parser.parse_entity(normal[: submission.end_of_header(normal)] + b"\r\n")
    if sum(name == "received" for name, _ in header.fields) > HOPS_MAX:
        raise _invalid("The message has too many Received fields: it is in a loop.")
    author, agent = _mailbox(header, "from"), _mailbox(header, "sender")
    if author is None:
        raise _invalid("The message has no From field.")
    to, cc = _listed(header, "to"), _listed(header, "cc")
    if recipients is None:
        recipients = [*to, *cc, *_listed(header, "bcc")]
    valid = ValidEmail(
        sender=address.canonical(author),
        recipients=_recipients(recipients, to, cc=cc),
        content=_content(header, author, to=to, cc=cc, raw=message.as_bytes()),
        tags={},
        metadata={},
        due_at=None,
        stream="transactional",
        test=test,
        on_behalf=address.canonical(agent) if agent else None,
    )
    return RawEmail(valid, _idempotency_key(header))


def _content(
    header: Entity, author: Mailbox, *, to: Sequence[Mailbox], cc: Sequence[Mailbox], raw: bytes
) -> Content:
    content = Content(
        to=_shown(to),
        cc=_shown(cc),
        reply_to=_shown(_listed(header, "reply-to")),
        subject=_subject(header),
        raw=raw,
    )
    setattr(content, "from", address.readable(author))
    return content


def _shown(mailboxes: Sequence[Mailbox]) -> list[str]:
    return [address.readable(one) for one in mailboxes[:LISTED_MAX]]


def _mailbox(header: Entity, name: str) -> Mailbox | None:
    """The one mailbox of a field. Encoded words are decoded after parsing, so that they cannot hide
    an address. Raises Problem."""
    values = [value for key, value in header.fields if key == name]
    if not values:
        return None
    try:
        text = values[0].decode("utf-8")
        return address.parse_mailbox(_without_comment(text))
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except AddressError as error:
        reason = str(error)
    raise _invalid(f"The field {name.title()} is not one address: {reason}.")


def _without_comment(text: str) -> str:
    """Without a comment at the end: `cron@host (Cron Daemon)`."""
    before, opened, comment = text.rstrip().rpartition("(")
    is_comment = opened and comment.endswith(")") and not set(comment[:-1]) & set(")\\")
    return before.rstrip() if is_comment else text


def _listed(header: Entity, name: str) -> list[Mailbox]:
    """The mailboxes of a field, as far as they can be read; they are only shown."""
    found: list[Mailbox] = []
    for value in (value for key, value in header.fields if key == name):
        for text in address.split_list(value.decode("utf-8", "replace")):
            try:
                found.append(address.parse_mailbox(text))
            except AddressError:
                continue
    return found


def _subject(header: Entity) -> str:
    subject = header.get("subject")
    if not subject.isprintable():
        subject = "".join(char for char in subject if char.isprintable())
    return subject[:SUBJECT_CHARS_MAX]


def _recipients(
    envelope: Sequence[Mailbox], to: Sequence[Mailbox], *, cc: Sequence[Mailbox]
) -> tuple[Recipient, ...]:
    """One per address, with the type of the field that names it; Bcc if none does."""
    types = {
        address.canonical(one).address: kind
        for kind, boxes in (
            (RecipientType.RECIPIENT_TYPE_CC, cc),
            (RecipientType.RECIPIENT_TYPE_TO, to),
        )
        for one in boxes
    }
    addresses = dict.fromkeys(address.canonical(one).address for one in envelope)
    bcc = RecipientType.RECIPIENT_TYPE_BCC
    return tuple(Recipient(one, types.get(one, bcc)) for one in addresses)


def _idempotency_key(header: Entity) -> str | None:
    values = [header.get(name) for name in IDEMPOTENCY_FIELDS]
    given = [value for value in values if value]
    if not given:
        return None
    if not _KEY.fullmatch(given[0]):
        detail = "Invalid Idempotency-Key. Use 1 to 256 printable ASCII characters."
        raise Problem(400, "invalid_idempotency_key", detail=detail)
    return given[0]


def _invalid(detail: str) -> Problem:
    return invalid([Fault("#/raw", "invalid_message", detail)])
