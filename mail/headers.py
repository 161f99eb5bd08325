"""Header fields: RFC 5322 §2.2 and §3.6, RFC 2047 for what is not ASCII.

Only `field` builds a header line from a name and a value, and its result cannot contain a second
header. Folding inserts line breaks only before existing white space, so unfolding restores the
value exactly.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from mail import encoded_words
from mail.address import AddressError, Mailbox, format_mailbox, parse_list

LINE = 76  # RFC 2047 §2; RFC 5322 §2.1.1 recommends 78
MAX_LINE = 998  # RFC 5322 §2.1.1, without CRLF


class HeaderError(ValueError):
    """A header cannot be written; the message says which and why."""


_NAME = re.compile(r"[!-9;-~]{1,76}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u0080-\u009f\u2028\u2029\ud800-\udfff]")
_HARMLESS = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\u0080-\u009f\u2028\u2029]")
_ID = re.compile(r"<?([!-;=?A-~]+@[!-;=?-~]+?)>?")  # the first @ ends the left part
ID_MAX = 900  # octets of a Message-ID, which cannot be folded
_DOT_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*"
_MSG_ID = re.compile(rf"<{_DOT_ATOM}@(?:{_DOT_ATOM}|\[[!-Z^-~]*\])>", re.ASCII)
# The engine writes these itself, or they are reserved for relays and receivers: their results
# (RFC 8601, 7208, 8617, BIMI), and trace information.
_RESERVED = frozenset(
    (
        "from", "to", "cc", "bcc", "subject", "date", "sender", "return-path", "received",
        "dkim-signature", "domainkey-signature", "mime-version",
        "authentication-results", "received-spf", "delivered-to", "original-recipient",
        "bimi-location", "bimi-indicator",
    )
)  # fmt: skip
_RESERVED_PREFIXES = ("arc-", "resent-", "content-")
# Their syntax does not allow encoded words, and a msg-id cannot be split (RFC 5322 §3.6.4).
_STRUCTURED = frozenset(
    (
        "references", "in-reply-to", "list-unsubscribe", "list-unsubscribe-post", "list-help",
        "list-subscribe", "list-post", "list-owner", "list-archive", "list-id", "auto-submitted",
        "precedence", "from", "sender", "reply-to", "to", "cc", "date", "message-id", "received",
        "return-path", "mime-version", "content-type", "content-disposition", "content-id",
        "content-transfer-encoding", "dkim-signature", "authentication-results", "arc-seal",
        "arc-message-signature", "arc-authentication-results",
    )
)  # fmt: skip


def check_name(name: str) -> str:
    """Return the name if a customer can set that header. Raises HeaderError."""
    if not _NAME.fullmatch(name):
        raise HeaderError(f"{name[:80]!r} is not a header name")
    lowered = name.lower()
    if lowered in _RESERVED or lowered.startswith(_RESERVED_PREFIXES):
        raise HeaderError(f"the header {name} is written by the engine and cannot be set")
    return name


def check_distinct(names: Iterable[str]) -> None:
    """Raises HeaderError for a repeated name, ignoring case: most fields must be unique (RFC 5322
    §3.6), and readers disagree which of two Reply-To counts.
    """
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise HeaderError(f"the header {name[:80]} is given twice")
        seen.add(name.lower())


def custom_field(name: str, value: str) -> bytes:
    """A customer's header as one folded field with its CRLF. Raises HeaderError."""
    lowered = check_name(name).lower()
    if lowered == "message-id":
        return _own_message_id(value.strip(" \t"))
    if lowered == "list-id" and not value.isascii():
        return encode_field(name, _list_id(value))
    if lowered != "reply-to":
        return encode_field(name, value)
    try:
        return address_list_field("Reply-To", parse_list(value))
    except AddressError as error:
        raise HeaderError(f"the header Reply-To is not a list of addresses: {error}") from None


def _list_id(value: str) -> str:
    """`phrase <id>` (RFC 2919) with only the phrase in encoded words."""
    phrase, bracket, rest = value.rpartition("<")
    if not bracket or phrase.isascii() or _CONTROL.search(value):
        return value
    return f"{' '.join(encoded_words.encode(phrase.strip()))} <{rest}"


def encode_field(name: str, value: str) -> bytes:
    """`name: value` as one folded field with its CRLF. Raises HeaderError.

    ASCII values are unchanged. Other values become encoded words in an unstructured field and are
    rejected in a structured one.
    """
    if not _NAME.fullmatch(name):
        raise HeaderError(f"{name[:80]!r} is not a header name")
    value = value.strip(" \t")
    if _CONTROL.search(value):
        raise HeaderError(f"the header {name} contains a line break or another control character")
    if value.isascii():
        if len(name) + len(value) + 2 <= LINE:
            return f"{name}: {value}\r\n".encode("ascii")
        return _fold_ascii(name, value)
    if name.lower() in _STRUCTURED:
        raise HeaderError(f"the header {name} must be ASCII")
    return _fold_words(name, value)


def text_field(name: str, text: str) -> bytes:
    """A text field such as Subject: displayed as given, even if it looks encoded.

    Control characters become spaces, except line ends, which are rejected as in `field`.
    """
    if not text.isprintable():
        text = _HARMLESS.sub(" ", text)
    if "=?" in text and text.isascii() and not _CONTROL.search(text):
        return _fold_words(name, text.strip(" \t"))
    return encode_field(name, text)


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")  # independent of the locale
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PIECE = re.compile(r"[ \t]*[^ \t]+")


def _fold_ascii(name: str, value: str) -> bytes:
    lines, current = [], f"{name}:"
    for piece in _PIECE.findall(" " + value):
        if len(piece) > MAX_LINE:
            return _unfoldable(name, value)
        # A field name alone on its line is legal but discouraged, so the first word stays with it.
        if len(current) + len(piece) > LINE and not _stays_with_name(current, piece, name):
            lines.append(current)
            current = piece
        else:
            current += piece
    lines.append(current)
    return "\r\n".join(lines).encode("ascii") + b"\r\n"


def _stays_with_name(current: str, piece: str, name: str) -> bool:
    return len(current) == len(name) + 1 and len(current) + len(piece) <= MAX_LINE


def _unfoldable(name: str, value: str) -> bytes:
    if name.lower() in _STRUCTURED:
        raise HeaderError(f"the header {name} has a word longer than {MAX_LINE} characters")
    return _fold_words(name, value)


def _fold_words(name: str, value: str) -> bytes:
    """The value as encoded words, the first on the line of the field name."""
    text, length = f"{name}:", len(name) + 1
    for index, word in enumerate(encoded_words.encode(value, first=LINE - length - 1)):
        if index and length + 1 + len(word) > LINE:
            text += "\r\n"
            length = 0
        text += f" {word}"
        length += 1 + len(word)
    return f"{text}\r\n".encode("ascii")


def address_list_field(name: str, boxes: Iterable[Mailbox]) -> bytes:
    """An address-list field, folded at spaces."""
    value = ", ".join([format_mailbox(box) for box in boxes])
    if len(name) + len(value) + 2 <= LINE:
        return f"{name}: {value}\r\n".encode()
    lines, current = [], f"{name}:"
    for piece in _PIECE.findall(" " + value):
        if len(current) + len(piece) > LINE and len(current) > len(name) + 1:
            lines.append(current)
            current = piece
        else:
            current += piece
    lines.append(current)
    return "\r\n".join(lines).encode() + b"\r\n"


def date_field(moment: datetime) -> bytes:
    """The Date field (RFC 5322 §3.3). `moment` must be aware; raises HeaderError otherwise."""
    if moment.tzinfo is None:
        raise HeaderError("Date has no time zone")
    day = f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]}"
    time = f"{moment.hour:02}:{moment.minute:02}:{moment.second:02}"
    zone = "+0000" if moment.tzinfo is UTC else f"{moment:%z}"
    return f"Date: {day} {moment.year:04} {time} {zone}\r\n".encode("ascii")


def message_id_field(value: str) -> bytes:
    """The Message-ID field from `id@host`, with or without angle brackets. Raises HeaderError."""
    match = _ID.fullmatch(value)
    if match is None or len(value) > ID_MAX:
        raise HeaderError(f"{value[:80]!r} is not a message id, for example unique@host.example")
    return b"Message-ID: <%b>\r\n" % match[1].encode("ascii")


def _own_message_id(value: str) -> bytes:
    """A customer's Message-ID, unchanged: a msg-id of RFC 5322 §3.6.4 without obsolete forms."""
    if not _MSG_ID.fullmatch(value) or len(value) > ID_MAX:
        raise HeaderError(
            "the header Message-ID is not of the form <unique@host.example> with at most "
            f"{ID_MAX} characters"
        )
    return b"Message-ID: %b\r\n" % value.encode("ascii")


_UNFOLD = re.compile(rb"\r?\n(?=[ \t])")


def unfold(value: bytes) -> bytes:
    """The value of a field on one line: removes line breaks before white space."""
    return _UNFOLD.sub(b"", value)
