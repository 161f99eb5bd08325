"""Encoded words in headers: RFC 2047, with the language suffix of RFC 2231 §5 tolerated.

Encoding splits only between characters (RFC 2047 §5) and no word is longer than 75 octets.
"""

import binascii
import re

_WORD = re.compile(r"=\?([A-Za-z0-9_.:+*-]+)\?([bBqQ])\?([^?\s]*)\?=")
_GAP = re.compile(r"(\?=)[ \t\r\n]+(=\?)")
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q = tuple(chr(b) if b in _Q_SAFE else "_" if b == 0x20 else f"={b:02X}" for b in range(256))
_Q_ONE = bytes([*_Q_SAFE, 0x20])  # octets that take one character
_PREFIX = len("=?utf-8?q??=")  # 12
_ROOM = 75 - _PREFIX
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def encode(text: str, *, first: int = 75) -> list[str]:
    """`text` as encoded words of at most 75 octets, to be joined by folding white space.

    `first`: octets that the first may have, beside the name of its field (no less than 24). Q or B,
    whichever is shorter: mostly-Latin text stays legible, the rest stays small.
    """
    data = text.encode("utf-8")
    room = max(min(first, 75), 24) - _PREFIX
    q_length = len(data) + 2 * len(data.translate(None, _Q_ONE))
    b_length = (len(data) + 2) // 3 * 4
    if min(q_length, b_length) <= room:
        return [_one_word(data, q_length <= b_length)]
    if q_length <= b_length:
        return [f"=?utf-8?q?{chunk}?=" for chunk in _q_chunks(text, room)]
    return [f"=?utf-8?b?{chunk}?=" for chunk in _b_chunks(text, room)]


def _one_word(data: bytes, q: bool) -> str:
    if q:
        return f"=?utf-8?q?{''.join(map(_Q.__getitem__, data))}?="
    return f"=?utf-8?b?{binascii.b2a_base64(data, newline=False).decode('ascii')}?="


def _q_chunks(text: str, room: int) -> list[str]:
    chunks, current = [], ""
    for char in text:
        coded = "".join([_Q[b] for b in char.encode("utf-8")])
        if len(current) + len(coded) > room:
            chunks.append(current)
            current, room = "", _ROOM
        current += coded
    chunks.append(current)
    return chunks


def _b_chunks(text: str, room: int) -> list[str]:
    chunks, current = [], b""
    for char in text:
        octets = char.encode("utf-8")
        if len(current) + len(octets) > room // 4 * 3:  # 45 octets make 60 characters
            chunks.append(binascii.b2a_base64(current, newline=False).decode("ascii"))
            current, room = b"", _ROOM
        current += octets
    chunks.append(binascii.b2a_base64(current, newline=False).decode("ascii"))
    return chunks


def decode(text: str) -> str:
    """Every encoded word in `text` replaced by what it says; a broken word stays as it is.

    White space between two words belongs to neither (RFC 2047 §6.2). Control characters that hide
    in a word become spaces: a decoded header never carries a line break.
    """
    if "=?" not in text:
        return text
    joined = _GAP.sub(r"\1\2", text)
    return _CONTROL.sub(" ", _WORD.sub(_decode_word, _merge_split(joined)))


_ADJACENT = re.compile(r"=\?([A-Za-z0-9_.:+*-]+)\?([qQ])\?([^?\s]*)\?==\?\1\?[qQ]\?([^?\s]*)\?=")


def _merge_split(text: str) -> str:
    """Join neighbouring Q words of one charset: some senders cut inside a character."""
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
