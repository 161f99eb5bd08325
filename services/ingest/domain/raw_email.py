"""A valid email from a complete message (RFC 5322) and its envelope."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import RecipientType
from mail import address, headers, parser, smtp, submission
from mail.address import AddressError, Mailbox
from mail.submission import SubmissionError
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.valid_email import FromAddress, Recipient, ValidEmail, parse_from

HOPS_MAX = 100  # Received fields: a loop (RFC 5321 §6.3)
LISTED_MAX = 50  # addresses of To and Cc that are listed
SUBJECT_CHARS_MAX = 5_000
# Fields for the engine, which are not sent.
IDEMPOTENCY_FIELDS = (b"idempotency-key", b"resend-idempotency-key")
TRACKING_FIELDS = (b"track-opens", b"track-clicks")
OWN_FIELDS = frozenset((*IDEMPOTENCY_FIELDS, *TRACKING_FIELDS))
_KEY = re.compile(r"[\x20-\x7e]{1,256}")
_FLAGS = {"": None, "true": True, "false": False}
_TO = RecipientType.RECIPIENT_TYPE_TO
_CC = RecipientType.RECIPIENT_TYPE_CC
_BCC = RecipientType.RECIPIENT_TYPE_BCC

Fields: TypeAlias = Mapping[bytes, Sequence[bytes]]


class ParsedEmail(NamedTuple):
    """idempotency_key: from the header."""

    valid: ValidEmail
    idempotency_key: str | None


def parse_raw_email(raw: bytes, recipients: Sequence[Mailbox] | None, *, test: bool) -> ParsedEmail:
    """recipients: of the envelope, which alone decides who receives it; None for those that the
    header names. Raises Problem."""
    normal = smtp.normalize_line_endings(raw)  # before parsing: a CR alone may hide a field
    try:
        message = submission.parse_submitted(normal, without=OWN_FIELDS)
    except SubmissionError as error:
        raise _invalid(f"The message cannot be sent: {error}.") from None
    fields = message.fields
    if len(fields.get(b"received", ())) > HOPS_MAX:
        raise _invalid("The message has too many Received fields: it is in a loop.")
    author, agent = _mailbox(fields, b"from"), _mailbox(fields, b"sender")
    if author is None:
        raise _invalid("The message has no From field.")
    to, cc = _listed(fields, b"to"), _listed(fields, b"cc")
    if recipients is None:
        recipients = [*to, *cc, *_listed(fields, b"bcc")]
    content = Content(
        to=_shown(to),
        cc=_shown(cc),
        reply_to=_shown(_listed(fields, b"reply-to")),
        subject=_subject(fields),
        raw=message.raw,
    )
    setattr(content, "from", author.display)
    track_opens, track_clicks = (_flag(fields, name) for name in TRACKING_FIELDS)
    valid = ValidEmail(
        sender=author.mailbox,
        recipients=_recipients(recipients, to, cc=cc),
        content=content,
        tags={},
        metadata={},
        due_at=None,
        stream="transactional",
        test=test,
        on_behalf=agent.mailbox if agent else None,
        track_opens=track_opens,
        track_clicks=track_clicks,
        own_message_id=_own_message_id(fields),
    )
    return ParsedEmail(valid, _idempotency_key(fields))


def _own_message_id(fields: Fields) -> str:
    """Empty if it is no text that could be searched for."""
    text = _text(fields, b"message-id").strip()
    return text if text.isprintable() and len(text) <= headers.ID_MAX else ""


def _shown(mailboxes: Sequence[Mailbox]) -> list[str]:
    return [address.format_for_display(one) for one in mailboxes[:LISTED_MAX]]


def _mailbox(fields: Fields, name: bytes) -> FromAddress | None:
    """The one mailbox of a field. Encoded words are decoded after parsing, so that they cannot hide
    an address. Raises Problem."""
    values = fields.get(name)
    if not values:
        return None
    try:
        return parse_from(_without_comment(values[0].decode("utf-8")))
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except AddressError as error:
        reason = str(error)
    raise _invalid(f"The field {name.decode().title()} is not one address: {reason}.")


def _without_comment(text: str) -> str:
    """Without a comment at the end: `cron@host (Cron Daemon)`."""
    before, opened, comment = text.rstrip().rpartition("(")
    is_comment = opened and comment.endswith(")") and not set(comment[:-1]) & set(")\\")
    return before.rstrip() if is_comment else text


def _listed(fields: Fields, name: bytes) -> list[Mailbox]:
    """The mailboxes of a field, as far as they can be read; they are only shown."""
    found: list[Mailbox] = []
    for value in fields.get(name, ()):
        for text in address.split_list(value.decode("utf-8", "replace")):
            try:
                found.append(address.parse_mailbox_cached(text))
            except AddressError:
                continue
    return found


def _subject(fields: Fields) -> str:
    subject = _text(fields, b"subject")
    if not subject.isprintable():
        subject = "".join(char for char in subject if char.isprintable())
    return subject[:SUBJECT_CHARS_MAX]


def _recipients(
    envelope: Sequence[Mailbox], to: Sequence[Mailbox], *, cc: Sequence[Mailbox]
) -> tuple[Recipient, ...]:
    """One per address, with the type of the field that names it; Bcc if none does."""
    types = {
        address.canonical(one).address: kind
        for kind, boxes in ((_CC, cc), (_TO, to))
        for one in boxes
    }
    addresses = dict.fromkeys([address.canonical(one).address for one in envelope])
    return tuple([Recipient(one, types.get(one, _BCC)) for one in addresses])


def _text(fields: Fields, name: bytes) -> str:
    """The first field of this name, decoded; empty if there is none."""
    values = fields.get(name)
    return parser.text_of(values[0]) if values else ""


def _flag(fields: Fields, name: bytes) -> bool | None:
    """Raises Problem."""
    text = _text(fields, name).strip().lower()
    if text not in _FLAGS:
        shown = name.decode().title()
        raise _invalid(f"The field {shown} is neither true nor false.")
    return _FLAGS[text]


def _idempotency_key(fields: Fields) -> str | None:
    given = [text for name in IDEMPOTENCY_FIELDS if (text := _text(fields, name))]
    if not given:
        return None
    if not _KEY.fullmatch(given[0]):
        detail = "Invalid Idempotency-Key. Use 1 to 256 printable ASCII characters."
        raise Problem(400, "invalid_idempotency_key", detail=detail)
    return given[0]


def _invalid(detail: str) -> Problem:
    return invalid([Fault("#/raw", "invalid_message", detail)])
