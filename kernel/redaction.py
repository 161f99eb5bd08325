"""Removes a text from protobuf messages, however it is spelled there.

Found are any case, percent-encoding (RFC 3986 §2.1) and quoted-printable (RFC 2045 §6.7) of any of
its characters, and base64 (RFC 4648) at any offset, also where it is a part of a longer text. A
field that has it is replaced as a whole, because the rest may tell as much. Maps have texts only.
"""

import base64
import re
from collections.abc import Iterator, MutableMapping, MutableSequence
from functools import lru_cache
from typing import Any, TypeAlias

from google.protobuf.message import Message

ERASED = "erased"
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")
URL_SAFE = str.maketrans("-_", "+/")

Pattern: TypeAlias = re.Pattern[str]


@lru_cache(maxsize=64)
def pattern_of(text: str) -> Pattern:
    """What the text looks like, but for base64."""
    return re.compile(_escaped(text))


def found_in(text: str, pattern: Pattern) -> bool:
    """Also within what is base64 there."""
    return bool(pattern.search(text)) or any(pattern.search(one) for one in _decoded(text))


def _decoded(text: str) -> Iterator[str]:
    """Each run of base64 in either alphabet, from each of the places where it may begin."""
    for run in BASE64.findall(text):
        octets = run.translate(URL_SAFE)
        for skipped in range(4):
            left = len(octets) - skipped
            whole = octets[skipped : skipped + left - (left % 4 == 1)]
            yield base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1")


def _escaped(text: str) -> str:
    return "".join(_character(one) for one in text)


def _character(character: str) -> str:
    """In either case, or as its octets in hexadecimal."""
    cases = sorted({character.lower(), character.upper()})
    plain = [re.escape(one) for one in cases]
    encoded = ["".join(f"[%=](?i:{octet:02x})" for octet in one.encode()) for one in cases]
    return f"(?:{'|'.join(plain + encoded)})"


def erase(message: Message, pattern: Pattern) -> bool:
    """Replace each text of the message that has the pattern; whether there was one."""
    erased = False
    for field, value in message.ListFields():
        if isinstance(value, Message):
            erased = erase(value, pattern) or erased
        elif isinstance(value, MutableMapping):
            erased = _erase_map(value, pattern) or erased
        elif isinstance(value, MutableSequence):
            erased = _erase_list(value, pattern) or erased
        elif _has(value, pattern):
            setattr(message, field.name, ERASED if isinstance(value, str) else b"")
            erased = True
    return erased


def _has(value: Any, pattern: Pattern) -> bool:  # noqa: ANN401 - of any type
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return isinstance(value, str) and found_in(value, pattern)


def _erase_map(values: MutableMapping[Any, Any], pattern: Pattern) -> bool:
    """Names stay, unless they have it themselves."""
    found = [name for name, value in values.items() if _has(name, pattern) or _has(value, pattern)]
    for name in found:
        del values[name]
        values[ERASED if _has(name, pattern) else name] = ERASED
    return bool(found)


def _erase_list(values: MutableSequence[Any], pattern: Pattern) -> bool:
    erased = False
    for n, value in enumerate(values):
        if isinstance(value, Message):
            erased = erase(value, pattern) or erased
        elif _has(value, pattern):
            values[n] = ERASED
            erased = True
    return erased


def erase_bytes(kind: type[Message], encoded: bytes, pattern: Pattern) -> bytes:
    """An encoded message without the pattern."""
    message = kind.FromString(encoded)
    return message.SerializeToString() if erase(message, pattern) else encoded
