"""Encoded words in headers: RFC 2047, with the language suffix of RFC 2231 §5 tolerated.

Encoding splits only between characters (RFC 2047 §5) and no encoded word is longer than 75 octets.
"""

import binascii
import re
from collections.abc import Callable

_WORD = re.compile(r"=\?([A-Za-z0-9_.:+*-]+)\?([bBqQ])\?([^?\s]*)\?=")
_GAP = re.compile(r"(\?=)[ \t\r\n]+(=\?)")
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q = tuple(chr(b) if b in _Q_SAFE else "_" if b == 0x20 else f"={b:02X}" for b in range(256))
_Q_ONE = bytes([*_Q_SAFE, 0x20])  # octets that take one character
_PREFIX = len("=?utf-8?q??=")  # 12
_PAYLOAD_MAX = 75 - _PREFIX
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PIECE = re.compile(r"[^ ]+ *| +")  # a word of the text and the spaces after it


def encode(text: str, *, first: int = 75) -> list[str]:
    """`text` as encoded words of at most 75 octets, to be joined by folding white space.

    `first`: maximum octets of the first, after the field name (at least 24). Uses Q or B, whichever
    is shorter: mostly-Latin text stays legible, other text short. Splits after a space if a word of
    the text fits, so that readers that show the white space between two encoded words (Python
    before 3.12) do not split a word.
    """
    data = text.encode("utf-8")
    first_max = max(min(first, 75), 24) - _PREFIX
    if _q_length(data) <= _b_length(data):
        return [
            f"=?utf-8?q?{_q(chunk)}?=" for chunk in _cut(text, _q_length, (first_max, _PAYLOAD_MAX))
        ]
    limits = first_max // 4 * 3, _PAYLOAD_MAX // 4 * 3  # 45 octets make 60 characters
    return [f"=?utf-8?b?{_b(chunk)}?=" for chunk in _cut(text, len, limits)]


def _q_length(data: bytes) -> int:
    return len(data) + 2 * len(data.translate(None, _Q_ONE))


def _b_length(data: bytes) -> int:
    return (len(data) + 2) // 3 * 4


def _q(data: bytes) -> str:
    return "".join(map(_Q.__getitem__, data))


def _b(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _cut(text: str, cost: Callable[[bytes], int], limits: tuple[int, int]) -> list[bytes]:
    """The octets of each encoded word. limits: maximum cost of the first, and of the others."""
    left, whole = limits
    data = text.encode("utf-8")
    if cost(data) <= left:
        return [data]
    chunks, current = [], b""
    for piece in _PIECE.findall(text):
        costs = cost(piece.encode("utf-8"))
        fits = costs <= left or (current and costs <= whole)
        for unit in (piece,) if fits else piece:
            data = unit.encode("utf-8")
            costs = cost(data)
            if costs > left and current:
                chunks.append(current)
                current, left = b"", whole
            current += data
            left -= costs
    return [*chunks, current]


def decode(text: str) -> str:
    """Decode every encoded word in `text`; a broken word is left unchanged.

    White space between two words is dropped (RFC 2047 §6.2). Control characters in a word become
    spaces, so a decoded header never contains a line break.
    """
    if "=?" not in text:
        return text
    joined = _GAP.sub(r"\1\2", text)
    return _CONTROL.sub(" ", _WORD.sub(_decode_word, _merge_split(joined)))


_ADJACENT = re.compile(r"=\?([A-Za-z0-9_.:+*-]+)\?([qQ])\?([^?\s]*)\?==\?\1\?[qQ]\?([^?\s]*)\?=")


def _merge_split(text: str) -> str:
    """Join adjacent Q words of one charset, because some senders split inside a character."""
    while True:
        merged, count = _ADJACENT.subn(r"=?\1?\2?\3\4?=", text)
        if not count:
            return merged
        text = merged


def _decode_word(match: re.Match[str]) -> str:
    charset, coding, payload = match[1].partition("*")[0], match[2].lower(), match[3]
    try:
        if coding == "q":
            data = binascii.a2b_qp(payload.encode("ascii"), header=True)
        else:
            data = binascii.a2b_base64(payload.encode("ascii") + b"==")
        return data.decode(charset, "replace")
    except (ValueError, LookupError):
        return match[0]
