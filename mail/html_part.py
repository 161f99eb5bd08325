"""The HTML part of a message that was submitted as a whole: RFC 2045 §6, RFC 2046 §5.1.

It can be replaced by one with slots, in quoted-printable. All other octets stay as they are.
"""

import re
from typing import Any, NamedTuple

from mail import parser
from mail.body_parts import is_attachment
from mail.parser import Entity
from mail.splice import QUOTED_PRINTABLE, SlottedText, encode_fixed, end_with_newline

# In these, every octet of ASCII is this character. Others may have shifts, or two octets for each.
_CHARSET = re.compile(r"us-ascii|utf-8|iso-8859-\d{1,2}|windows-125\d", re.IGNORECASE)
_FIELD = re.compile(
    rb"^content-transfer-encoding[ \t]*:(.*\r\n(?:[ \t].*\r\n)*)", re.IGNORECASE | re.MULTILINE
)
# A change inside would break the signature, or what a recipient decrypts.
_CLOSED = frozenset(("multipart/signed", "multipart/encrypted"))


class HtmlPart(NamedTuple):
    """start, body, end: offsets of its header, of its body, and of what follows."""

    start: int
    body: int
    end: int
    html: str
    charset: str


def find_html(raw: bytes) -> HtmlPart | None:
    """The HTML of a message; None if it has none, several, or one that must not be changed."""
    found: list[HtmlPart] = []
    stack, count = [(0, len(raw), 0)], 0
    while stack and count < parser.MAX_PARTS:
        start, end, depth = stack.pop()
        count += 1
        entity = parser.parse_entity(raw[start:end])
        kind, given = entity.content_type
        if kind in _CLOSED:
            return None
        body = end - len(entity.body)
        if kind == "text/html" and not is_attachment(entity):
            if (html := _read(entity)) is None or found:
                return None
            found.append(HtmlPart(start, body, end, *html))
        elif kind.startswith("multipart/") and depth < parser.MAX_DEPTH:
            boundary = given.get("boundary", "").encode("utf-8", "replace")
            spans = parser.find_parts(entity.body, boundary) if boundary else []
            stack += [(body + at, body + to, depth + 1) for at, to in spans]
    return found[0] if found else None


def _read(entity: Entity) -> tuple[str, str] | None:
    """The text and its charset, if these octets are all that the text can be encoded as."""
    charset = entity.content_type[1].get("charset", "us-ascii")
    octets = entity.content()
    if not _CHARSET.fullmatch(charset):
        return None
    try:
        return (octets.decode(charset), charset) if octets else None
    except (LookupError, ValueError):
        return None


def replace_html(raw: bytes, part: HtmlPart, text: SlottedText[Any]) -> bytes:
    """The message with another text in its HTML part, with a mark for each slot. It ends in a line
    end also if the part ends the message and its text has none, as base64 can."""

    def encode(piece: str) -> bytes:
        return piece.encode(part.charset).replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    head = _with_encoding(raw[part.start : part.body])
    fixed = text.fixed if part.end < len(raw) else end_with_newline(text.fixed)
    return b"".join((raw[: part.start], head, encode_fixed(fixed, encode), raw[part.end :]))


def _with_encoding(head: bytes) -> bytes:
    """The header of a part, with its empty line, for a body in quoted-printable."""
    line = b"Content-Transfer-Encoding: %b\r\n" % QUOTED_PRINTABLE
    found = _FIELD.search(head)
    if found is None:
        return b"%b%b\r\n" % (head[:-2], line)
    if found[1].strip().lower() == QUOTED_PRINTABLE:
        return head
    return head[: found.start()] + line + head[found.end() :]
