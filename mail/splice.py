"""A message that differs between its recipients in a few places: RFC 2045 §6.7, RFC 6376 §3.7.

Texts have slots for values that all have one length, such as tokens in links. The message is
composed once, with each slot on a line of its own between two soft line breaks of quoted-printable.
So each recipient costs the values, a join, and the hash from the first slot on.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Generic, NamedTuple, TypeVar

from mail import mime, smtp
from mail.compose import ComposedMessage, Email, compose_with
from mail.dkim_canonicalization import relaxed_body
from mail.mime import Part

QUOTED_PRINTABLE = b"quoted-printable"
_LINE = 72  # characters of a value in a line
_BETWEEN, _CODED_BETWEEN = "\1\n", b"=01\r\n"  # the end of a line that hardly any text has
_MARK = b"\0"  # in no body: NUL is encoded in text, and removed from submitted messages
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class SlottedText(Generic[K]):
    """fixed: the text before, between and after the slots. keys: of the slots."""

    fixed: tuple[str, ...]
    keys: tuple[K, ...] = ()


@dataclass(frozen=True, slots=True)
class SlottedBody(Generic[K]):
    """A body with slots. wire: dot-stuffed. canonical: as DKIM hashes it, after what is in
    `hashed`. Each has the octets before, between and after the slots. size: of these octets,
    before stuffing."""

    wire: tuple[bytes, ...]
    canonical: tuple[bytes, ...]
    size: int
    keys: tuple[K, ...]
    hashed: Any = field(compare=False, repr=False)

    @classmethod
    def of(cls, body: bytes, keys: Sequence[K]) -> "SlottedBody[K]":
        """body: with a mark, at the begin of a line, for each key. Raises ValueError as
        `smtp.dot_stuff`."""
        fixed = body.replace(_MARK, b"")
        if not smtp.is_normalized(fixed):
            raise ValueError("the line ends are not normalized")
        first, *rest = relaxed_body(body).split(_MARK)
        wire = tuple(smtp.stuff_lines(body).split(_MARK))
        return cls(wire, (b"", *rest), len(fixed), tuple(keys), sha256(first))

    def fill(self, values: Sequence[str]) -> "FilledBody":
        """values: of the keys, of the characters of tokens."""
        coded = [encode_value(one) for one in values]
        state = self.hashed.copy()
        state.update(_join(self.canonical, coded))
        return FilledBody(_join(self.wire, coded), sum(map(len, coded)), b64encode(state.digest()))


class FilledBody(NamedTuple):
    """The body of one recipient. wire: dot-stuffed. added: octets of the values. body_hash: for
    `bh=`."""

    wire: bytes
    added: int
    body_hash: bytes


def _join(fixed: Sequence[bytes], filled: Sequence[bytes]) -> bytes:
    pieces = [b""] * (2 * len(filled) + 1)
    pieces[::2], pieces[1::2] = fixed, filled
    return b"".join(pieces)


def compose_slotted(
    email: Email, *, plain: SlottedText[Any] | None, html: SlottedText[Any] | None
) -> ComposedMessage:
    """The message with a mark for each slot, those of the text before those of the html. plain,
    html: in place of the email's own."""
    given = {"plain": plain, "html": html}
    return compose_with(email, lambda subtype, text: _part(subtype, given[subtype], text))


def _part(subtype: str, text: SlottedText[Any] | None, own: str) -> Part:
    if text is None or not text.keys:
        return mime.text_part(subtype, text.fixed[0] if text else own)
    charset = b"us-ascii" if all(map(str.isascii, text.fixed)) else b"utf-8"
    body = encode_fixed(end_with_newline(text.fixed), mime.utf8_lines)
    return Part(mime.text_part_fields(subtype, charset, QUOTED_PRINTABLE), body)


def end_with_newline(fixed: tuple[str, ...]) -> tuple[str, ...]:
    """The text around slots with a line end after it."""
    last = fixed[-1]
    return fixed if last.endswith("\n") else (*fixed[:-1], f"{last}\n")


def encode_fixed(fixed: Sequence[str], encode: Callable[[str], bytes]) -> bytes:
    """The text around slots in quoted-printable, with a mark for each slot. encode: to octets with
    LF line ends."""
    coded = mime.encode_quoted_printable(encode(_BETWEEN.join(fixed))).split(_CODED_BETWEEN)
    if len(coded) == len(fixed):
        return (mime.SOFT_BREAK + _MARK + mime.SOFT_BREAK).join(coded)
    # The text itself has such a line.
    *before, last = [mime.encode_quoted_printable(encode(piece)) for piece in fixed]
    return (_MARK + mime.SOFT_BREAK).join((*map(mime.end_with_soft_break, before), last))


def encode_value(value: str) -> bytes:
    """A value in lines of quoted-printable. It has only letters, digits, hyphens and underscores
    (RFC 4648 §5), and dots that begin no line."""
    coded = value.encode("ascii")
    if len(coded) <= _LINE:
        return coded
    return mime.SOFT_BREAK.join([coded[at : at + _LINE] for at in range(0, len(coded), _LINE)])
