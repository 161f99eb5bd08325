"""One message for many recipients, each a little different: RFC 2045 §6.7, RFC 5322.

What differs (a pixel, tokens in links) is marked in the text by slots. Everything else is encoded
once: a slot stands between two soft line breaks of quoted-printable, so that a recipient costs the
encoding of what is put in, and one join.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mail import mime
from mail.compose import ComposedMessage, Email, compose_with
from mail.mime import MimeError, Part

MAX_SLOTS = 4096
_FIRST = 0xF0000  # a private plane: no text that people write is there
_SLOT = re.compile(f"([{chr(_FIRST)}-{chr(_FIRST + MAX_SLOTS - 1)}])")
# NUL is never in a composed body, so it can mark a place in one.
_MARK = re.compile(rb"\0(\d+)\0")


def slot(number: int) -> str:
    """The mark for what `render` gets as its `number`-th value. Raises ValueError above 4,095."""
    if not 0 <= number < MAX_SLOTS:
        raise ValueError(f"a message has at most {MAX_SLOTS} slots")
    return chr(_FIRST + number)


def has_slot(text: str) -> bool:
    """Whether text already holds a mark: such text of a customer's cannot be given slots."""
    return _SLOT.search(text) is not None


@dataclass(frozen=True, slots=True)
class MergeTemplate:
    """A message with slots: fixed octets, and between them the numbers of the slots."""

    headers: tuple[bytes, ...]
    fixed: tuple[bytes, ...]
    order: tuple[int, ...]

    def render(self, values: Sequence[str], *fields: bytes) -> ComposedMessage:
        """The message for one recipient: `values` for the slots, `fields` on top of the header.

        Values hold no line break: they are what stands inside a line.
        """
        coded = [_encode(value) for value in values]
        pieces = [self.fixed[0]]
        for number, after in zip(self.order, self.fixed[1:], strict=True):
            pieces += (coded[number], after)
        return ComposedMessage((*fields, *self.headers), b"".join(pieces))


def prepare(email: Email) -> MergeTemplate:
    """The email, whose text and html may hold slots, encoded once.

    Raises what `compose` raises, and MimeError when a slot is in the subject.
    """
    if has_slot(email.subject):
        raise MimeError("a slot cannot be in a header")
    composed = compose_with(email, _text_part)
    pieces = _MARK.split(composed.body)
    return MergeTemplate(composed.headers, tuple(pieces[::2]), tuple(int(n) for n in pieces[1::2]))


def _text_part(subtype: str, content: str) -> Part:
    """The part with marks for slots, in quoted-printable: base64 cannot be cut where one likes."""
    if not has_slot(content):
        return mime.text(subtype, content)
    pieces = _SLOT.split(content if content.endswith("\n") else content + "\n")
    body = b""
    for fixed, mark in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        body += mime.encode_quoted_printable(mime.utf8_lines(fixed)) if fixed else b""
        if mark:
            body = mime.end_with_soft_break(body) + b"\0%d\0" % (ord(mark) - _FIRST)
    return Part(mime.text_fields(subtype, b"utf-8", b"quoted-printable"), body)


def _encode(value: str) -> bytes:
    """A value between two soft line breaks, itself ended by one."""
    if "\n" in value or "\r" in value:
        raise MimeError("the value of a slot holds a line break")
    return (
        mime.end_with_soft_break(mime.encode_quoted_printable(value.encode("utf-8")))
        if value
        else b""
    )
