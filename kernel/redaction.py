"""Removes an address from protobuf messages, however it is spelled there.

Found are any case, percent-encoding (RFC 3986 §2.1) and quoted-printable (RFC 2045 §6.7) of any of
its characters, and base64 (RFC 4648) at any offset, also where it is a part of a longer text, but
not of a longer address: `ann@x.com` is not in `joann@x.com`. A field that has it is replaced as a
whole, because the rest may tell as much. Maps have texts only.
"""

import base64
import re
from collections.abc import Iterator, MutableMapping, MutableSequence
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf.message import Message

ERASED = "erased"
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")
URL_SAFE = str.maketrans("-_", "+/")
# Fields that look like an address and are none, such as 17.ann@example.net: any part may be one.
IDENTIFIERS = frozenset({"own_message_id"})

AROUND = 64  # characters beside an address that tell whether it is a part of another one
# Of scripts that have spaces between words: others may stand directly beside an address.
LETTER = r"[^\W_\u0e00-\U0010ffff]"
LONGER_BEFORE = re.compile(rf"{LETTER}[._+'-]?$")
LONGER_AFTER = re.compile(rf"{LETTER}|\.{LETTER}|-[\w-]*\.{LETTER}")
NUMBERED = re.compile(r"(?<![\w.+-])[0-9]+[.-]$")  # "1.", and the "550-" of a reply
ESCAPE = r"(?:[%=]|\\x|\\u00)"
ESCAPED = re.compile(rf"(?:{ESCAPE}[0-9A-Fa-f]{{2}})+")


class AddressPattern(NamedTuple):
    """What an address looks like, but for base64. anywhere: also within another one."""

    anywhere: re.Pattern[str]

    def search(self, text: str) -> bool:
        return any(_is_whole(one) for one in self.anywhere.finditer(text))


@lru_cache(maxsize=64)
def pattern_of(address: str) -> AddressPattern:
    return AddressPattern(re.compile("".join(map(_character, address))))


def found_in(text: str, pattern: AddressPattern) -> bool:
    """Also within what is base64 there."""
    return pattern.search(text) or _found_in_base64(text, pattern)


def found_anywhere(text: str, pattern: AddressPattern) -> bool:
    """Also within a longer address: in identifiers and octets nothing tells where one begins."""
    return bool(pattern.anywhere.search(text)) or _found_in_base64(text, pattern)


def _found_in_base64(text: str, pattern: AddressPattern) -> bool:
    return any(pattern.anywhere.search(one) for one in _decoded(text))


def _is_whole(match: re.Match[str]) -> bool:
    """Whether it is not a part of a longer address. What could be either is whole."""
    before = match.string[max(match.start() - AROUND, 0) : match.start()]
    after = match.string[match.end() :][:AROUND]
    if LONGER_AFTER.match(_unescaped(after)):
        return False
    if "@" not in match[0] and before.endswith(("+", "_")):  # a space, in queries and RFC 2047
        return True
    if before.endswith("'") and after.startswith("'"):
        return True
    before = _unescaped(before)
    return bool(NUMBERED.search(before)) or not LONGER_BEFORE.search(before)


def _unescaped(text: str) -> str:
    """Without percent-encoding, quoted-printable, and the escapes of JSON."""
    return ESCAPED.sub(_octets, re.sub(r"\\[nrt]", " ", text))


def _octets(escaped: re.Match[str]) -> str:
    return bytes.fromhex(re.sub(ESCAPE, "", escaped[0])).decode(errors="replace")


def _decoded(text: str) -> Iterator[str]:
    """Each run of base64 in either alphabet, from each of the places where it may begin."""
    for run in BASE64.findall(text):
        octets = run.translate(URL_SAFE)
        for skipped in range(4):
            left = len(octets) - skipped
            whole = octets[skipped : skipped + left - (left % 4 == 1)]
            yield base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1")


def _character(character: str) -> str:
    """In either case, as its octets in hexadecimal, or as the characters that Latin-1 makes of
    its octets."""
    cases = sorted({character.lower(), character.upper()})
    plain = [re.escape(one) for case in cases for one in (case, case.encode().decode("latin-1"))]
    encoded = ["".join(f"[%=](?i:{octet:02x})" for octet in one.encode()) for one in cases]
    return f"(?:{'|'.join(plain + encoded)})"


def erase(message: Message, pattern: AddressPattern) -> bool:
    """Replace each text of the message that has the pattern; whether there was one."""
    erased = False
    for field, value in message.ListFields():
        if isinstance(value, Message):
            erased = erase(value, pattern) or erased
        elif isinstance(value, MutableMapping):
            erased = _erase_map(value, pattern) or erased
        elif isinstance(value, MutableSequence):
            erased = _erase_list(value, pattern) or erased
        elif _has(value, pattern, name=field.name):
            setattr(message, field.name, ERASED if isinstance(value, str) else b"")
            erased = True
    return erased


def _has(value: Any, pattern: AddressPattern, *, name: str = "") -> bool:  # noqa: ANN401 - of any type
    """name: of the field."""
    if isinstance(value, bytes):
        return found_anywhere(value.decode("latin-1"), pattern)
    found = found_anywhere if name in IDENTIFIERS else found_in
    return isinstance(value, str) and found(value, pattern)


def _erase_map(values: MutableMapping[Any, Any], pattern: AddressPattern) -> bool:
    """Names stay, unless they have it themselves."""
    found = [name for name, value in values.items() if _has(name, pattern) or _has(value, pattern)]
    for name in found:
        del values[name]
        values[ERASED if _has(name, pattern) else name] = ERASED
    return bool(found)


def _erase_list(values: MutableSequence[Any], pattern: AddressPattern) -> bool:
    erased = False
    for n, value in enumerate(values):
        if isinstance(value, Message):
            erased = erase(value, pattern) or erased
        elif _has(value, pattern):
            values[n] = ERASED
            erased = True
    return erased


def erase_bytes(kind: type[Message], encoded: bytes, pattern: AddressPattern) -> bytes:
    """An encoded message without the pattern."""
    message = kind.FromString(encoded)
    return message.SerializeToString() if erase(message, pattern) else encoded
