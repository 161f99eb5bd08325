"""Prepares submitted messages with only the changes that RFC 6409 §8 allows.

Line ends are normalized (they determine where the message ends, RFC 5321 §2.3.8), Bcc is removed,
and a missing Date or Message-ID is added. Everything else is unchanged.
"""

import re
from collections.abc import Container
from datetime import datetime

from mail import headers, smtp
from mail.compose import ComposedMessage

MAX_HEADER = 256 * 1024  # octets; ten times the largest header of real mail
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_BREAK = re.compile(rb"(?<=\r\n)(?![ \t])")
# Bcc must not be sent, and the receiver writes Return-Path (RFC 5321 §4.4).
_DROPPED = frozenset((b"bcc", b"resent-bcc", b"return-path"))
_ONCE = (
    b"from", b"sender", b"reply-to", b"to", b"cc", b"message-id", b"in-reply-to", b"references",
    b"subject", b"date", b"mime-version", b"content-type", b"content-transfer-encoding",
)  # fmt: skip


class SubmissionError(ValueError):
    """The message cannot be sent; the text says why."""


def prepare(
    raw: bytes, *, date: datetime, message_id: str, without: Container[str] = ()
) -> ComposedMessage:
    """The message, ready to sign. `date` and `message_id` are used if the message has none.

    Raises SubmissionError: no header, a malformed field, no From, or a repeated field.
    """
    return complete(accept(raw, without=without), date=date, message_id=message_id)


def accept(raw: bytes, *, without: Container[str] = ()) -> ComposedMessage:
    """The message with only the fields that may be sent. without: names of further fields to drop,
    in lower case. Raises SubmissionError."""
    return accept_normal(smtp.normalize_line_endings(raw), without=without)


def accept_normal(normal: bytes, *, without: Container[str] = ()) -> ComposedMessage:
    """`accept` for a message with normalized line endings."""
    end = end_of_header(normal)
    if end > MAX_HEADER:
        raise SubmissionError(f"the header is longer than {MAX_HEADER} octets")
    fields = split_fields(normal[:end])
    names = [_name(item, number) for number, item in enumerate(fields, 1)]
    _check(names)
    remaining = [
        item
        for item, name in zip(fields, names, strict=True)
        if name not in _DROPPED and name.decode("ascii") not in without
    ]
    return ComposedMessage(tuple(remaining), normal[end + 2 :])


def end_of_header(normal: bytes) -> int:
    """The length of the header, without the empty line after it."""
    if normal.startswith(b"\r\n"):
        return 0
    end = normal.find(b"\r\n\r\n")
    return len(normal) if end < 0 else end + 2


def split_fields(header: bytes) -> list[bytes]:
    """The fields of a header with normalized line endings, each with its CRLF."""
    if b"\r\n " in header or b"\r\n\t" in header:
        return [field for field in _BREAK.split(header) if field]
    return header.splitlines(keepends=True)  # several times as fast


def split(accepted: bytes) -> ComposedMessage:
    """The message that `accept` returned, from its octets."""
    end = accepted.index(b"\r\n\r\n") + 2
    return ComposedMessage(tuple(split_fields(accepted[:end])), accepted[end + 2 :])


def complete(message: ComposedMessage, *, date: datetime, message_id: str = "") -> ComposedMessage:
    """The message with Date and Message-ID; without `message_id`, it can be added later."""
    added = [] if has_field(message, b"date") else [headers.date(date)]
    if message_id and not has_field(message, b"message-id"):
        added.append(headers.message_id(message_id))
    return message.with_headers(*added) if added else message


def has_field(message: ComposedMessage, name: bytes) -> bool:
    """name: in lower case."""
    return any(
        item[: len(name)].lower() == name and item[len(name) :].lstrip(b" \t").startswith(b":")
        for item in message.headers
    )


def _name(item: bytes, number: int) -> bytes:
    match = _FIELD.match(item)
    if match is None:
        shown = item[:60].decode("utf-8", "replace").strip()
        raise SubmissionError(f"header field {number} is not `Name: value`: {shown!r}")
    if not item.partition(b"\r\n")[0] or b"\r\n \r\n" in item or b"\r\n\t\r\n" in item:
        raise SubmissionError(f"header field {number} has an empty folded line")
    return match[1].lower()


def _check(names: list[bytes]) -> None:
    if b"from" not in names:
        raise SubmissionError("the message has no From field")
    for name in _ONCE:
        if names.count(name) > 1:
            shown = name.decode("ascii").title()
            raise SubmissionError(f"the message has more than one {shown} field (RFC 5322 §3.6)")
