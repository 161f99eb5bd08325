"""UUIDv7 (RFC 9562 §5.7): ids that sort by time, used as cursors and as keys of day partitions."""

import hashlib
import os
import re
from datetime import datetime, timedelta
from uuid import UUID

from kernel import clock, times

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_VARIANTS = {f"{digit:x}": f"{digit & 0b11 | 0b1000:x}" for digit in range(16)}
_RANDOM_BITS = 62
_DRAWN_OCTETS = 4096  # a system call for each id costs more than the id
_WRITTEN = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
NIL, MAX = UUID(int=0), UUID(int=2**128 - 1)  # RFC 9562 §5.9, §5.10: sort first and last
_last_ms = 0
_counter = 0
_drawn = b""
_used = 0


def random_octets(count: int) -> bytes:
    """Random octets of the operating system, drawn in advance. For ids, not for keys or nonces."""
    global _drawn, _used  # noqa: PLW0603 - one buffer per process
    if _used + count > len(_drawn):
        _drawn, _used = os.urandom(_DRAWN_OCTETS), 0
    _used += count
    return _drawn[_used - count : _used]


def forget_drawn() -> None:
    """Discard the buffer after a fork, or the child would draw the same octets as its parent."""
    global _drawn, _used
    _drawn, _used = b"", 0


os.register_at_fork(after_in_child=forget_drawn)


def uuid7() -> UUID:
    """Monotonic within a process: 12 bits of counter behind the millisecond (§6.2, method 1)."""
    return UUID(int=_next_uuid7())


def uuid7_text() -> str:
    digits = f"{_next_uuid7():032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _next_uuid7() -> int:
    global _last_ms, _counter  # noqa: PLW0603 - one clock per process
    now_ms = clock.now_ms()
    if now_ms > _last_ms:
        _last_ms, _counter = now_ms, 0
    elif _counter < 0xFFF:
        _counter += 1
    else:  # 4,096 ids in a millisecond, or a clock set back: borrow from the future
        _last_ms, _counter = _last_ms + 1, 0
    random = int.from_bytes(random_octets(8), "big") >> (64 - _RANDOM_BITS)
    return (_last_ms << 80) | _VERSION_AND_VARIANT | (_counter << 64) | random


def uuid7_of(milliseconds: int, digest: bytes) -> UUID:
    """A UUIDv7 of what has a time and a digest of at least 10 bytes, the same each time."""
    given = int.from_bytes(digest[:10], "big")
    counter, random = given >> 68, given & ((1 << _RANDOM_BITS) - 1)
    return UUID(int=(milliseconds << 80) | _VERSION_AND_VARIANT | (counter << 64) | random)


def uuid5_text(namespace: bytes, name: str) -> str:
    """The text of a UUIDv5 (RFC 9562 §5.5); namespace: 16 bytes. A tenth of the standard library's
    cost, which matters because every service computes one for every record."""
    digits = hashlib.sha1(namespace + name.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def canonical_uuid(text: str) -> str:
    """A UUID from input, in lower case (RFC 9562 §4). Raises ValueError.

    Only the hyphenated form is valid; `uuid.UUID` also accepts braces, `urn:uuid:` and stray
    hyphens.
    """
    if not _WRITTEN.fullmatch(text):
        raise ValueError(f"{text[:50]!r} is not a UUID")
    return text.lower()


def creation_time_of(identifier: UUID) -> datetime:
    """Creation time of a UUIDv7, to the millisecond; capped, since 48 bits exceed the last
    datetime."""
    milliseconds = min(identifier.int >> 80, times.LAST_MS)
    return times.FIRST + timedelta(milliseconds=milliseconds)


def lower_bound_at(moment: datetime) -> UUID:
    """The lower bound of the ids created at or after a moment; no real id equals it."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
