"""Converts a message for transmission: lines of at most 998 octets (RFC 5322 §2.1.1), and 7-bit if
the server does not offer 8BITMIME (RFC 6152 §3), before it is signed (RFC 6376 §5.3).

Only parts that need it are re-encoded (RFC 2045 §6), each separately; everything else is unchanged.
Multiparts cannot be encoded, only their parts. A signed part (RFC 1847) that needs a change makes
the message undeliverable, because any change would break its signature.
"""

import re

from mail import headers, mime, parser, smtp
from mail.address import AddressError, parse_list
from mail.compose import ComposedMessage
from mail.parser import Entity

MAX_DEPTH = 32
_HIGH = re.compile(rb"[\x80-\xff]")
_BREAK = re.compile(rb"(?<=\r\n)(?![ \t])")
_CTE = re.compile(rb"(?i)content-transfer-encoding[ \t]*:")
_KIND = re.compile(r"[a-z0-9!#$&^_.+-]{1,120}(?:/[a-z0-9!#$&^_.+-]{1,120})?")
_ADDRESSES = frozenset(
    (
        "from", "sender", "reply-to", "to", "cc", "resent-from", "resent-sender", "resent-to",
        "resent-cc", "disposition-notification-to", "errors-to", "return-receipt-to",
    )
)  # fmt: skip
_ENCODED = frozenset(("quoted-printable", "base64"))


class ConversionError(ValueError):
    """The message cannot be converted; the text says why (5.6.3, conversion required)."""


def is_sendable_unchanged(raw: bytes, *, eight_bit: bool) -> bool:
    """Whether the octets can be sent unchanged. eight_bit: the server offers 8BITMIME."""
    return not smtp.has_long_line(raw) and (eight_bit or raw.isascii())


def downgrade(composed: ComposedMessage, *, eight_bit: bool = False) -> ComposedMessage:
    """The message in lines of at most 998 octets, and 7-bit unless `eight_bit`.

    Returns the same object if nothing must change. Raises ConversionError.
    """
    head = b"".join(composed.headers)
    if is_sendable_unchanged(head, eight_bit=eight_bit) and is_sendable_unchanged(
        composed.body, eight_bit=eight_bit
    ):
        return composed
    fields = tuple(_fit_field(field, eight_bit) for field in composed.headers)
    if is_sendable_unchanged(composed.body, eight_bit=eight_bit):
        return ComposedMessage(fields, composed.body)
    fields, body = _fit_entity(fields, composed.body, eight_bit=eight_bit, depth=0)
    return ComposedMessage(fields, body)


def _fit_entity(
    fields: tuple[bytes, ...], body: bytes, *, eight_bit: bool, depth: int
) -> tuple[tuple[bytes, ...], bytes]:
    if is_sendable_unchanged(body, eight_bit=eight_bit):
        return fields, body
    entity = Entity(parser.parse_entity(b"".join(fields)).fields, body)
    kind, given = entity.content_type
    if kind == "multipart/signed":
        raise ConversionError("a signed part has long lines or 8-bit data and cannot be changed")
    if kind.startswith("multipart/") and given.get("boundary"):
        if depth >= MAX_DEPTH:
            raise ConversionError("the message is nested too deeply")
        fields = tuple(_drop_encoding(fields))
        return fields, _fit_parts(body, given["boundary"], eight_bit=eight_bit, depth=depth)
    if kind.startswith("message/"):
        raise ConversionError(f"a {kind} part has long lines or 8-bit data and must not be encoded")
    return _encode(fields, entity)


def _fit_parts(body: bytes, boundary: str, *, eight_bit: bool, depth: int) -> bytes:
    """The multipart with each part converted; preamble and epilogue are dropped."""
    delimiter = boundary.encode("utf-8", "replace")
    if len(delimiter) > 70 or not delimiter.isascii():
        raise ConversionError("a boundary is not ASCII of at most 70 octets (RFC 2046 §5.1.1)")
    found = parser.split_parts(body, delimiter)
    if not found:
        raise ConversionError("a multipart has no parts between its boundaries")
    pieces: list[bytes] = []
    for part in found:
        head, content = _head(part)
        fields = tuple(_fit_field(field, eight_bit) for field in head)
        fields, content = _fit_entity(fields, content, eight_bit=eight_bit, depth=depth + 1)
        pieces += (b"--", delimiter, b"\r\n", *fields, b"\r\n", content, b"\r\n")
    return b"".join((*pieces, b"--", delimiter, b"--\r\n"))


def _head(part: bytes) -> tuple[list[bytes], bytes]:
    if part.startswith(b"\r\n"):
        return [], part[2:]
    head, gap, content = part.partition(b"\r\n\r\n")
    fields = [field for field in _BREAK.split(head + b"\r\n") if field.strip()]
    return fields, content if gap else b""


def _encode(fields: tuple[bytes, ...], entity: Entity) -> tuple[tuple[bytes, ...], bytes]:
    """A leaf part, re-encoded: text in quoted-printable or base64, whichever is shorter; else
    base64."""
    if entity.get("content-transfer-encoding").strip().lower() in _ENCODED:
        raise ConversionError("an encoded part is broken: it has long lines or 8-bit data")
    kind = entity.content_type[0]
    if kind.startswith("text/"):
        encoding, body = mime.encode_text(entity.body.replace(b"\r\n", b"\n"), plain=False)
    else:
        encoding, body = b"base64", mime.encode_base64(entity.body)
    field = b"Content-Transfer-Encoding: %b\r\n" % encoding
    extra = () if entity.get("mime-version") or entity.get("content-type") else (_PLAIN,)
    return (*_drop_encoding(fields), *extra, field), body


_PLAIN = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"


def _drop_encoding(fields: tuple[bytes, ...]) -> list[bytes]:
    return [field for field in fields if not _CTE.match(field)]


def _fit_field(field: bytes, eight_bit: bool) -> bytes:
    """Convert one field: 8-bit text becomes encoded words, a long line is folded at spaces."""
    if is_sendable_unchanged(field, eight_bit=eight_bit):
        return field
    name, _, value = field.partition(b":")
    shown = name.decode("ascii", "replace").strip()
    try:
        fitted = _rewritten(shown, parser.decode_text(headers.unfold(value).strip(b" \t\r\n"), ""))
    except (headers.HeaderError, AddressError, mime.MimeError) as error:
        raise ConversionError(f"the header {shown} cannot be converted: {error}") from None
    if not is_sendable_unchanged(fitted, eight_bit=eight_bit):
        raise ConversionError(f"the header {shown} has an address that needs SMTPUTF8")
    return fitted


def _rewritten(shown: str, text: str) -> bytes:
    """The field, rewritten by its syntax: encoded words only where they are allowed."""
    name = shown.lower()
    if name in _ADDRESSES:
        return headers.address_list_field(shown, parse_list(text))
    if name == "list-id":
        return headers.custom_field(shown, text)
    if name not in ("content-type", "content-disposition"):
        return headers.encode_field(shown, text)
    kind, given = parser.parse_parameters(text)
    known = len(text) <= 8192 and _KIND.fullmatch(kind)
    if not known or not all(map(mime.PARAMETER_NAME.fullmatch, given)):
        raise headers.HeaderError("its syntax is invalid")
    return mime.encode_parameters(shown, kind, *given.items())
