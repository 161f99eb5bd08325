"""Prepares submitted messages with only the changes that RFC 6409 §8 allows.

Line ends are normalized (they determine where the message ends, RFC 5321 §2.3.8), Bcc is removed,
and a missing Date or Message-ID is added. Everything else is unchanged.
"""

import re
from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, NoReturn

from mail import headers, smtp
from mail.compose import ComposedMessage

MAX_HEADER = 256 * 1024  # octets; ten times the largest header of real mail
# A field with its continuation lines: octets, name, value.
_FIELDS = re.compile(rb"^(([!-9;-~]+)[ \t]*:(.*\n(?:[ \t].*\n)*))", re.MULTILINE)
_BREAK = re.compile(rb"(?<=\r\n)(?![ \t])")
# Bcc must not be sent, and the receiver writes Return-Path (RFC 5321 §4.4).
_DROPPED = frozenset((b"bcc", b"resent-bcc", b"return-path"))
_ONCE = (
    b"from", b"sender", b"reply-to", b"to", b"cc", b"message-id", b"in-reply-to", b"references",
    b"subject", b"date", b"mime-version", b"content-type", b"content-transfer-encoding",
)  # fmt: skip


class SubmissionError(ValueError):
    """The message cannot be sent; the text says why."""


class SubmittedMessage(NamedTuple):
    """raw: with only the fields that may be sent. fields: values by lower-case name, in their order
    and unfolded, also of fields that are not sent."""

    raw: bytes
    fields: Mapping[bytes, Sequence[bytes]]


def prepare(raw: bytes, *, date: datetime, message_id: str) -> ComposedMessage:
    """The message, ready to sign. `date` and `message_id` are used if the message has none.

    Raises SubmissionError: no header, a malformed field, no From, or a repeated field.
    """
    submitted = parse_submitted(smtp.normalize_line_endings(raw))
    return add_missing_fields(split_message(submitted.raw), date=date, message_id=message_id)


def parse_submitted(normal: bytes, *, without: Container[bytes] = ()) -> SubmittedMessage:
    """A message with normalized line endings. without: names of further fields to drop, in lower
    case. Raises SubmissionError."""
    end = end_of_header(normal)
    if end > MAX_HEADER:
        raise SubmissionError(f"the header is longer than {MAX_HEADER} octets")
    fields: dict[bytes, list[bytes]] = {}
    sent: list[bytes] = []
    found = _read_header(normal[:end])
    for octets, given_name, given_value in found:
        name, value = given_name.lower(), given_value.strip(b" \t\r\n")
        fields.setdefault(name, []).append(headers.unfold(value) if b"\n" in value else value)
        if name not in _DROPPED and name not in without:
            sent.append(octets)
    _check(fields, len(found))
    is_unchanged = len(sent) == len(found) and end < len(normal)
    raw = normal if is_unchanged else b"".join((*sent, b"\r\n", normal[end + 2 :]))
    return SubmittedMessage(raw, fields)


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


def split_message(accepted: bytes) -> ComposedMessage:
    """The fields and the body of a message that was accepted."""
    end = accepted.index(b"\r\n\r\n") + 2
    return ComposedMessage(tuple(split_fields(accepted[:end])), accepted[end + 2 :])


def add_missing_fields(
    message: ComposedMessage, *, date: datetime, message_id: str = ""
) -> ComposedMessage:
    """The message with Date and Message-ID; without `message_id`, it can be added later."""
    added = [] if has_field(message, b"date") else [headers.date_field(date)]
    if message_id and not has_field(message, b"message-id"):
        added.append(headers.message_id_field(message_id))
    return message.with_headers(*added) if added else message


def has_field(message: ComposedMessage, name: bytes) -> bool:
    """name: in lower case."""
    return any(
        item[: len(name)].lower() == name and item[len(name) :].lstrip(b" \t").startswith(b":")
        for item in message.headers
    )


def _read_header(header: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Each field of a header: its octets, its name and its value. Raises SubmissionError."""
    found: list[tuple[bytes, bytes, bytes]] = _FIELDS.findall(header)
    if sum([len(octets) for octets, _, _ in found]) != len(header):
        _refuse_malformed(header)
    if b"\r\n \r\n" in header or b"\r\n\t\r\n" in header:
        raise SubmissionError("a header field has an empty folded line")
    return found


def _refuse_malformed(header: bytes) -> NoReturn:
    """Raises SubmissionError with the first field that is not one."""
    for number, item in enumerate(split_fields(header), 1):
        if not _FIELDS.fullmatch(item):
            shown = item[:60].decode("utf-8", "replace").strip()
            raise SubmissionError(f"header field {number} is not `Name: value`: {shown!r}")
    raise SubmissionError("the header does not end with a line end")


def _check(fields: Mapping[bytes, Sequence[bytes]], count: int) -> None:
    """count: number of fields. Raises SubmissionError."""
    if b"from" not in fields:
        raise SubmissionError("the message has no From field")
    if len(fields) == count:
        return
    for name in _ONCE:
        if len(fields.get(name, ())) > 1:
            shown = name.decode("ascii").title()
            raise SubmissionError(f"the message has more than one {shown} field (RFC 5322 §3.6)")
