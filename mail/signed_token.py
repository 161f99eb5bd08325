"""Signed tokens for addresses and URLs: HMAC-SHA256 (RFC 2104) in base64url (RFC 4648 §5).

A token contains its payload and is bound to a purpose; without the key it cannot be created or
changed. The payload is readable, so it must not contain secrets.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import b2a_base64
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import Any

MAC_OCTETS = 12  # 96 bits
MAX_TOKEN = 8192
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_BLOCK = 64  # octets of SHA-256
_INNER = bytes([octet ^ 0x36 for octet in range(256)])
_OUTER = bytes([octet ^ 0x5C for octet in range(256)])


def sign(purpose: bytes, payload: bytes, key: bytes) -> str:
    """A token for `payload`, valid only for `purpose`. `key`: at least 16 secret octets."""
    return sign_each(purpose, payload, key, ends=(b"",))[0]


def sign_each(purpose: bytes, payload: bytes, key: bytes, *, ends: Iterable[bytes]) -> list[str]:
    """The tokens for the payload with each of these ends. The payload is hashed once."""
    inner, outer = _begin(purpose, payload, key)
    tokens = []
    for end in ends:
        coded = b2a_base64(_finish(inner, outer, end) + payload + end, newline=False)
        tokens.append(coded.translate(_URL_SAFE, b"=").decode("ascii"))
    return tokens


def verify(purpose: bytes, token: str, keys: Iterable[bytes]) -> bytes | None:
    """The payload, or None if no key signed this token for this purpose.

    Other base64 spellings of the same octets are rejected.
    """
    if len(token) > MAX_TOKEN or not token.isascii():
        return None
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        return None
    if urlsafe_b64encode(raw).rstrip(b"=") != token.encode("ascii"):
        return None
    mac, payload = raw[:MAC_OCTETS], raw[MAC_OCTETS:]
    for key in keys:
        if hmac.compare_digest(mac, _finish(*_begin(purpose, payload, key), b"")):
            return payload
    return None


def _begin(purpose: bytes, payload: bytes, key: bytes) -> tuple[Any, Any]:
    """The inner hash after the payload, and the outer one."""
    if len(key) < 16:
        raise ValueError("a token key needs at least 16 octets")
    inner, outer = _states(key)
    inner = inner.copy()
    inner.update(bytes([len(purpose)]) + purpose + payload)
    return inner, outer


def _finish(inner: Any, outer: Any, end: bytes) -> bytes:  # noqa: ANN401 - hashlib's objects
    inner, outer = inner.copy(), outer.copy()
    inner.update(end)
    outer.update(inner.digest())
    mac: bytes = outer.digest()[:MAC_OCTETS]
    return mac


@lru_cache(maxsize=64)
def _states(key: bytes) -> tuple[Any, Any]:
    """What HMAC hashes before each message (RFC 2104 §4): a message has many tokens of one key."""
    padded = (key if len(key) <= _BLOCK else sha256(key).digest()).ljust(_BLOCK, b"\0")
    return sha256(padded.translate(_INNER)), sha256(padded.translate(_OUTER))
