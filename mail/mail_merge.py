"""Mail merge: one message for many recipients with small differences. RFC 2045 §6.7, RFC 5322.

Slots in the text mark the differences (a pixel, tokens in links). Everything else is encoded once:
a slot stands between two soft line breaks of quoted-printable, so each recipient costs only the
encoding of its values and one join.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mail import mime
from mail.compose import ComposedMessage, Email, compose_with
from mail.mime import MimeError, Part

MAX_SLOTS = 4096
_FIRST = 0xF0000  # a private-use plane, which real text does not use
_SLOT = re.compile(f"([{chr(_FIRST)}-{chr(_FIRST + MAX_SLOTS - 1)}])")
# A composed body never contains NUL, so NUL can mark a slot.
_MARK = re.compile(rb"\0(\d+)\0")


def slot(number: int) -> str:
    """The mark for the `number`-th value of `render`. Raises ValueError above 4,095."""
    if not 0 <= number < MAX_SLOTS:
        raise ValueError(f"a message has at most {MAX_SLOTS} slots")
    return chr(_FIRST + number)


def has_slot(text: str) -> bool:
    """Whether text already contains a mark; then a customer's text cannot get slots."""
    return _SLOT.search(text) is not None


@dataclass(frozen=True, slots=True)
class MergeTemplate:
    """A message with slots: the fixed octets, and the slot numbers between them."""

    headers: tuple[bytes, ...]
    fixed: tuple[bytes, ...]
    order: tuple[int, ...]

    def render(self, values: Sequence[str], *fields: bytes) -> ComposedMessage:
        """The message for one recipient: `values` for the slots, `fields` on top of the header.

        Values must not contain line breaks.
        """
        coded = [_encode(value) for value in values]
        pieces = [self.fixed[0]]
        for number, after in zip(self.order, self.fixed[1:], strict=True):
            pieces += (coded[number], after)
        return ComposedMessage((*fields, *self.headers), b"".join(pieces))


def compile_template(email: Email) -> MergeTemplate:
    """Encode an email whose text and html can contain slots.

    Raises the errors of `compose`, and MimeError for a slot in the subject.
    """
    if has_slot(email.subject):
        raise MimeError("a slot cannot be in a header")
    composed = compose_with(email, _text_part)
    pieces = _MARK.split(composed.body)
    return MergeTemplate(composed.headers, tuple(pieces[::2]), tuple(int(n) for n in pieces[1::2]))


def _text_part(subtype: str, content: str) -> Part:
    """A text part; with slots in quoted-printable, because base64 cannot be split anywhere."""
    if not has_slot(content):
        return mime.text_part(subtype, content)
    pieces = _SLOT.split(content if content.endswith("\n") else content + "\n")
    body = b""
    for fixed, mark in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        body += mime.encode_quoted_printable(mime.utf8_lines(fixed)) if fixed else b""
        if mark:
            body = mime.end_with_soft_break(body) + b"\0%d\0" % (ord(mark) - _FIRST)
    return Part(mime.text_part_fields(subtype, b"utf-8", b"quoted-printable"), body)


def _encode(value: str) -> bytes:
    """A value, encoded and ended by a soft line break."""
    if "\n" in value or "\r" in value:
        raise MimeError("the value of a slot contains a line break")
    return (
        mime.end_with_soft_break(mime.encode_quoted_printable(value.encode("utf-8")))
        if value
        else b""
    )
