"""Parses untrusted messages: RFC 5322 fields, RFC 2045/2046 structure, RFC 2231 parameters.

Nothing here raises on malformed input: it is parsed as far as possible, with bounded depth and
number of parts. Content is decoded only on request.
"""

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from urllib.parse import unquote_to_bytes

from mail import encoded_words
from mail.headers import unfold

MAX_DEPTH = 32
MAX_PARTS = 1000
MAX_HEADER = 1 << 20  # octets of a header that are parsed

_BREAK = re.compile(rb"\r?\n(?![ \t])")
_MIXED_END = re.compile(rb"\r\n\n|\n\r\n")
_PARAMETER = re.compile(r""";\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)""", re.DOTALL)
_FIELD_NAME = bytes([*range(33, 58), *range(59, 127)])  # RFC 5322 §2.2


@dataclass(frozen=True)
class Entity:
    """A message or part: its fields in order as (lower-case name, unfolded value), and its body."""

    fields: tuple[tuple[str, bytes], ...]
    body: bytes

    def get(self, name: str) -> str:
        """The first field with this (lower-case) name, unfolded and decoded; "" if there is
        none."""
        for key, value in self.fields:
            if key == name:
                return text_of(value)
        return ""

    def get_all(self, name: str) -> list[str]:
        """Every field with this name."""
        return [text_of(value) for key, value in self.fields if key == name]

    @cached_property
    def content_type(self) -> tuple[str, Mapping[str, str]]:
        """The media type in lower case (default text/plain, RFC 2045 §5.2) and its parameters."""
        kind, given = parse_parameters(self.get("content-type"))
        return (kind if kind.count("/") == 1 else "text/plain"), given

    @property
    def filename(self) -> str:
        """The file name from Content-Disposition or Content-Type; "" if there is none."""
        for name, key in (("content-disposition", "filename"), ("content-type", "name")):
            value = self.get(name)
            if value and (found := parse_parameters(value)[1].get(key)):
                return found
        return ""

    def content(self) -> bytes:
        """The body without its transfer encoding."""
        return decode_body(self.body, self.get("content-transfer-encoding"))

    def text(self) -> str:
        """The content as text, by its charset or the best guess."""
        return decode_text(self.content(), self.content_type[1].get("charset", ""))


def parse_entity(raw: bytes) -> Entity:
    """Parse a message or part; any line ends."""
    block, body = split_header(raw)
    return Entity(tuple(_fields(block)), body)


def split_header(raw: bytes) -> tuple[bytes, bytes]:
    """Header block and body. A message that begins with an empty line has no header."""
    if raw.startswith((b"\r\n", b"\n")):
        return b"", raw[raw.index(b"\n") + 1 :]
    crlf, lf = raw.find(b"\r\n\r\n"), raw.find(b"\n\n")
    if crlf < 0 and lf < 0:
        return _split_mixed(raw)
    if lf < 0 or 0 <= crlf < lf:
        return raw[:crlf], raw[crlf + 4 :]
    return raw[:lf], raw[lf + 2 :]


def _split_mixed(raw: bytes) -> tuple[bytes, bytes]:
    """Split a message whose empty line mixes line ends, which is rare."""
    match = _MIXED_END.search(raw)
    return (raw[: match.start()], raw[match.end() :]) if match else (raw, b"")


def _fields(block: bytes) -> Iterator[tuple[str, bytes]]:
    for line in _BREAK.split(block[:MAX_HEADER]):
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")
        if colon and name and not name.translate(None, _FIELD_NAME):
            value = unfold(value) if b"\n" in value else value
            yield name.decode("ascii").lower(), value.strip(b" \t\r\n")


def text_of(value: bytes) -> str:
    """A field's value as text: decodes encoded words and raw UTF-8, never fails."""
    if value.isascii() and b"\x1b" not in value:
        text = value.decode("ascii")
    else:
        text = decode_text(value, "")
    return encoded_words.decode(text) if "=?" in text else text


@lru_cache(maxsize=1024)
def parse_parameters(value: str) -> tuple[str, Mapping[str, str]]:
    """Parse `a/b; key=value` (RFC 2045 §5.1, RFC 2231 §3 and §4); keys in lower case."""
    kind, _, _ = value.partition(";")
    plain: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for match in _PARAMETER.finditer(value[:8192], len(kind) if len(kind) < 8192 else 8192):
        key, given = match[1].lower(), match[2].strip()
        if given.startswith('"'):
            given = re.sub(r"\\(.)", r"\1", given[1:].removesuffix('"'))
        if "*" in key:
            base, _, rest = key.partition("*")
            number = rest.rstrip("*")
            order = int(number) if number.isdecimal() and len(number) < 4 else 0
            pieces.setdefault(base, []).append((order, key.endswith("*"), given))
        else:
            plain.setdefault(key, given)
    plain |= {key: _join(found) for key, found in pieces.items()}
    return kind.strip().lower(), plain


def _join(found: list[tuple[int, bool, str]]) -> str:
    found.sort(key=lambda piece: piece[0])
    charset, data = "utf-8", b""
    for index, (_, coded, given) in enumerate(found):
        rest = given
        if coded and index == 0 and given.count("'") >= 2:
            charset, _, rest = given.split("'", 2)
        octets = rest.encode("utf-8", "replace")
        data += unquote_to_bytes(octets) if coded else octets
    return decode_text(data, charset)


def decode_text(data: bytes, charset: str) -> str:
    """Decode bytes by `charset` if it is known, else as UTF-8, else as Latin-1."""
    if b"\x1b$" in data and charset.lower() in ("", "us-ascii"):
        charset = "iso-2022-jp"  # unlabelled 7-bit Japanese
    try:
        return data.decode(charset or "utf-8", "replace" if charset else "strict")
    except (LookupError, UnicodeDecodeError, ValueError):
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("latin-1")


def decode_body(body: bytes, encoding: str) -> bytes:
    """Decode a body's Content-Transfer-Encoding; unknown encodings return it unchanged."""
    kind = encoding.partition(";")[0].strip().lower()
    if kind == "quoted-printable":
        return binascii.a2b_qp(body)
    if kind == "base64":
        try:
            return binascii.a2b_base64(body)
        except binascii.Error:
            usable = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
            return binascii.a2b_base64(usable[: len(usable) // 4 * 4])
    return body


def parts(entity: Entity) -> list[Entity]:
    """The parts of a multipart; empty for other types."""
    kind, given = entity.content_type
    boundary = given.get("boundary", "")
    if not kind.startswith("multipart/") or not boundary:
        return []
    return [
        parse_entity(piece)
        for piece in split_parts(entity.body, boundary.encode("utf-8", "replace"))
    ]


def split_parts(body: bytes, boundary: bytes) -> list[bytes]:
    """The bytes of each part, between the delimiter lines (RFC 2046 §5.1.1)."""
    return [body[start:end] for start, end in find_parts(body, boundary)]


def find_parts(body: bytes, boundary: bytes) -> list[tuple[int, int]]:
    """Start and end of each part."""
    found: list[tuple[int, int]] = []
    start = -1
    for at, after, closes in _delimiters(body, b"--" + boundary):
        if start >= 0:
            found.append((start, max(start, _before_break(body, at))))
        if closes or len(found) >= MAX_PARTS:
            return found
        start = after
    if start >= 0:
        found.append((start, len(body)))
    return found


def _delimiters(body: bytes, delimiter: bytes) -> Iterator[tuple[int, int, bool]]:
    """For each delimiter line: its start, the start of the next line, whether it is the last."""
    at = body.find(delimiter)
    while at >= 0:
        rest = at + len(delimiter)
        closes = body[rest : rest + 2] == b"--"
        line_end = body.find(b"\n", rest)
        line_end = len(body) if line_end < 0 else line_end
        begins = at == 0 or body[at - 1] == 10
        # Otherwise it is inside a line, or a longer boundary with this prefix.
        if begins and not body[rest + 2 * closes : line_end].strip(b" \t\r"):
            yield at, min(line_end + 1, len(body)), closes
        at = body.find(delimiter, line_end)


def _before_break(body: bytes, at: int) -> int:
    """End of the part before the delimiter at `at`; the line end belongs to the delimiter."""
    at -= 1 if body[at - 1 : at] == b"\n" else 0
    return at - 1 if body[at - 1 : at] == b"\r" else at


def walk(entity: Entity) -> Iterator[Entity]:
    """The entity and all nested parts, depth first; attached messages are not parsed."""
    stack, count = [(entity, 0)], 0
    while stack and count < MAX_PARTS:
        current, depth = stack.pop()
        count += 1
        yield current
        if depth < MAX_DEPTH:
            stack += [(child, depth + 1) for child in reversed(parts(current))]
