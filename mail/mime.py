"""MIME parts: RFC 2045 (encodings), RFC 2046 (multipart), RFC 2183 and 2231 (names of files).

Every function works on whole byte strings with the standard library's C encoders. A boundary begins
with `=_`, which neither quoted-printable nor base64 can produce, and text that contains `=_` is
always encoded, so no part can contain the boundary.
"""

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from mimetypes import MimeTypes  # noqa: TID251 - the only user

from mail import headers, parser
from mail.address import HIDDEN

# Python's own table, independent of the machine's files.
_TYPES = MimeTypes(filenames=())
TYPE_UNKNOWN = "application/octet-stream"

_SAFE = bytes([9, 10, *range(32, 127)])
_ASCII = bytes(range(128))
_HIGH = bytes(range(128, 256))
_NARROW = 78  # RFC 5322 §2.1.1: recommended maximum
_LINE_MAX = 998  # §2.1.1: maximum
_CHUNK = 57 * 16384  # raw octets that make whole lines of base64, about a megabyte
_PLAIN_LIMIT = 1 << 20  # beyond it, checking each line costs more than encoding
_QP_LINE = 75  # octets before the `=` of a soft line break
SOFT_BREAK = b"=\r\n"
_TOKEN = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")
_FILENAME_SAFE = re.compile(r"[A-Za-z0-9 !#$&()+,\-./:;<>@\[\]^_{|}~]{0,60}")
_QUOTABLE = re.compile(r"[ !#-\[\]-~]{0,70}")  # a boundary has at most 70 (RFC 2046 §5.1.1)
PARAMETER_NAME = re.compile(r"[a-z0-9!#$&^_.+-]{1,40}")
_PERCENT_SAFE = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`{|}~"
)
_NEXT = ";\r\n "  # each parameter on its own line
_CONTENT_ID = re.compile(r"<?([!-;=?-~]{1,200})>?")


class MimeError(ValueError):
    """A part cannot be written; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file. With `content_id` it is an inline image for the html (`<img src="cid:…">`)."""

    filename: str
    content: bytes
    content_type: str = "application/octet-stream"
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One entity: the Content-… fields, each with CRLF, and the encoded body with a final CRLF."""

    headers: tuple[bytes, ...]
    body: bytes


def media_type_of(filename: str) -> str:
    """The media type by a file's name (RFC 6838); application/octet-stream if unknown."""
    found, encoding = _TYPES.guess_type(filename[-255:].replace(":", "_"))
    return TYPE_UNKNOWN if encoding or not found else found


def text_part(subtype: str, content: str) -> Part:
    """A 7-bit text part, labelled US-ASCII if possible, else UTF-8."""
    charset = b"us-ascii" if content.isascii() else b"utf-8"
    encoding, body = encode_text(utf8_lines(content, closed=True))
    return Part(text_part_fields(subtype, charset, encoding), body)


def eight_bit_text(subtype: str, content: str) -> Part:
    """A text part in 8 bits if lines and characters allow it. Only for servers that offer 8BITMIME
    (RFC 6152)."""
    data = utf8_lines(content, closed=True)
    odd = data.translate(None, _SAFE).translate(None, _HIGH)
    if content.isascii() or odd or not _is_plain(data, _LINE_MAX):
        return text_part(subtype, content)
    return Part(text_part_fields(subtype, b"utf-8", b"8bit"), data.replace(b"\n", b"\r\n"))


def utf8_lines(content: str, *, closed: bool = False) -> bytes:
    """The text in UTF-8 with LF line ends; `closed`: with a final one. Raises MimeError."""
    try:
        data = content.encode("utf-8")
    except UnicodeEncodeError:
        raise MimeError("the text is not valid Unicode: it has a lone surrogate") from None
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data if not closed or data.endswith(b"\n") else data + b"\n"


def text_part_fields(subtype: str, charset: bytes, encoding: bytes) -> tuple[bytes, bytes]:
    """The two fields of a text part."""
    return (
        b"Content-Type: text/%b; charset=%b\r\n" % (subtype.encode("ascii"), charset),
        b"Content-Transfer-Encoding: %b\r\n" % encoding,
    )


def encode_text(data: bytes, *, plain: bool = True) -> tuple[bytes, bytes]:
    """The name of the encoding and the encoded text with CRLF, from text with LF line ends.

    `plain`: leave text unencoded if possible.
    """
    odd = data.translate(None, _SAFE)
    if plain and not odd and _is_plain(data):
        return b"7bit", data.replace(b"\n", b"\r\n")
    high = len(odd.translate(None, _ASCII))
    if 3 * high > len(data):  # QP adds two octets for each; base64 a third of the total
        return b"base64", encode_base64(data.replace(b"\n", b"\r\n"))
    pieces = _quoted_printable(data)
    del data  # frees a large text before the join
    return b"quoted-printable", b"".join(pieces)


def _is_plain(data: bytes, line_max: int = _NARROW) -> bool:
    if len(data) > _PLAIN_LIMIT or max(map(len, data.split(b"\n"))) > line_max or b"=_" in data:
        return False
    # mbox writers put > before "From ", and trailing spaces can be lost: both break the signature.
    return b" \n" not in data and b"\nFrom " not in data and data[:5] != b"From "


def encode_quoted_printable(data: bytes) -> bytes:
    """RFC 2045 §6.7 with CRLF, from text with LF line ends."""
    return b"".join(_quoted_printable(data))


def _quoted_printable(data: bytes) -> list[bytes]:
    """The encoded text in pieces of about a megabyte; an endless line gets soft breaks."""
    pieces, start = [], 0
    while start < len(data):
        stop = start + _CHUNK
        if stop < len(data):
            stop = data.rfind(b"\n", start, stop) + 1 or stop
        coded = binascii.b2a_qp(data[start:stop], istext=True)
        if coded.rfind(b"\nFrom ") >= 0 or coded.startswith(b"From "):  # `in` takes twice as long
            coded = re.sub(rb"(?m)^From ", b"=46rom=\n ", coded)  # must not make a line longer
        coded = coded.replace(b"\n", b"\r\n")
        cut_inside = stop < len(data) and data[stop - 1] != 10
        pieces.append(end_with_soft_break(coded) if cut_inside else coded)
        start = stop
    return pieces


def end_with_soft_break(coded: bytes) -> bytes:
    """Append a soft line break to quoted-printable text, splitting the last line if it is full."""
    start = coded.rfind(b"\n") + 1
    if len(coded) - start > _QP_LINE:
        cut = start + _QP_LINE - 3
        equals = coded.rfind(b"=", cut - 2, cut)  # do not split an encoded octet
        cut = cut if equals < 0 else equals
        coded = coded[:cut] + SOFT_BREAK + coded[cut:]
    return coded + SOFT_BREAK


def encode_base64(data: bytes) -> bytes:
    """RFC 2045 §6.8: lines of 76 with CRLF, encoded in chunks to save memory."""
    pieces = []
    view = memoryview(data)
    for start in range(0, len(data), _CHUNK):
        coded = binascii.b2a_base64(view[start : start + _CHUNK], newline=False)
        pieces.append(b"\r\n".join([coded[i : i + 76] for i in range(0, len(coded), 76)]))
    pieces.append(b"")
    return b"\r\n".join(pieces)


def attachment_part(item: Attachment, seed: bytes) -> Part:
    """The part of a file. Raises MimeError for an invalid content type or id."""
    kind = item.content_type.partition(";")[0].strip().lower() or "application/octet-stream"
    if not _TOKEN.fullmatch(kind):
        raise MimeError(f"{item.content_type[:80]!r} is not a content type")
    if kind.startswith("multipart/"):
        raise MimeError("an attachment cannot be multipart")
    encoding, body = _encode_file(kind, item.content, seed)
    disposition = "inline" if item.content_id else "attachment"
    fields = [
        encode_parameters(
            "Content-Type", kind, *_custom_parameters(item.content_type), ("name", item.filename)
        ),
        b"Content-Transfer-Encoding: %b\r\n" % encoding,
        encode_parameters("Content-Disposition", disposition, ("filename", item.filename)),
    ]
    if item.content_id:
        match = _CONTENT_ID.fullmatch(item.content_id)
        if match is None:
            raise MimeError(f"{item.content_id[:80]!r} is not a content id")
        fields.append(headers.encode_field("Content-ID", f"<{match[1]}>"))
    return Part(tuple(fields), body)


def _custom_parameters(content_type: str) -> list[tuple[str, str]]:
    """The customer's parameters: `charset` of a text, `method` of an invitation …"""
    if ";" not in content_type:
        return []
    given = parser.parse_parameters(content_type)[1].items()
    own = ("name", "boundary")
    return [
        (key, value) for key, value in given if key not in own and PARAMETER_NAME.fullmatch(key)
    ]


def _encode_file(kind: str, content: bytes, seed: bytes) -> tuple[bytes, bytes]:
    if kind in {"message/rfc822", "message/global"} and _needs_no_encoding(content, seed):
        lines = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return b"7bit", lines if lines.endswith(b"\r\n") else lines + b"\r\n"
    return b"base64", encode_base64(content)


def _needs_no_encoding(content: bytes, seed: bytes) -> bool:
    """Whether an attached message can stay unencoded, as RFC 2046 §5.2.1 requires."""
    return (
        len(content) <= _PLAIN_LIMIT
        and seed not in content
        and not content.translate(None, _SAFE + b"\r")
        and b"\r" not in content.replace(b"\r\n", b"")
        and max(map(len, content.split(b"\n"))) <= headers.MAX_LINE
    )


def multipart(subtype: str, parts: Sequence[Part], seed: bytes) -> Part:
    """A multipart of `parts`. `seed`: letters and digits for the boundary, unique per level.

    The line end before a delimiter belongs to it (RFC 2046 §5.1.1), so text keeps its final one.
    """
    boundary = b"=_" + seed
    pieces: list[bytes] = []
    for part in parts:
        pieces += (b"--", boundary, b"\r\n", *part.headers, b"\r\n", part.body, b"\r\n")
    pieces += (b"--", boundary, b"--\r\n")
    kind = b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n' % (
        subtype.encode("ascii"),
        boundary,
    )
    return Part((kind,), b"".join(pieces))


def encode_parameters(name: str, value: str, *given: tuple[str, str]) -> bytes:
    """`name: value; key="text"`, folded; non-ASCII or long text in RFC 2231 sections."""
    pieces = [value]
    for key, text_given in given:
        if text_given:
            pieces += _parameter(key, _clean_filename(text_given))
    return f"{name}: {_NEXT.join(pieces)}\r\n".encode("ascii")


def _parameter(key: str, shown: str) -> list[str]:
    safe = _FILENAME_SAFE if key in {"name", "filename"} else _QUOTABLE
    return [f'{key}="{shown}"'] if safe.fullmatch(shown) else _rfc2231(key, shown)


def _clean_filename(given: str) -> str:
    """The name. Raises MimeError for control characters: a mail client would display
    `photo<U+202E>gpj.exe` as `photoexe.jpg`.
    """
    if len(given) > 255:
        raise MimeError("a file name or parameter is longer than 255 characters")
    if match := HIDDEN.search(given):
        code = ord(match[0])
        raise MimeError(f"a file name or parameter has the control character U+{code:04X}")
    return given


def _rfc2231(key: str, shown: str) -> list[str]:
    octets = [chr(b) if b in _PERCENT_SAFE else f"%{b:02X}" for b in shown.encode("utf-8")]
    pieces, current = [], f"{key}*0*=utf-8''"
    for coded in octets:
        if len(current) + len(coded) > 74:
            pieces.append(current)
            current = f"{key}*{len(pieces)}*="
        current += coded
    pieces.append(current)
    if len(pieces) == 1:
        pieces[0] = pieces[0].replace("*0*=", "*=", 1)
    return pieces
