"""Signed tokens for addresses and URLs: HMAC-SHA256 (RFC 2104) in base64url (RFC 4648 §5).

A token contains its payload and is bound to a purpose; without the key it cannot be created or
changed. The payload is readable, so it must not contain secrets.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256

MAC_OCTETS = 12  # 96 bits
MAX_TOKEN = 8192


def sign(purpose: bytes, payload: bytes, key: bytes) -> str:
    """A token for `payload`, valid only for `purpose`. `key`: at least 16 secret octets."""
    coded = urlsafe_b64encode(_mac(purpose, payload, key) + payload)
    return coded.rstrip(b"=").decode("ascii")


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
        if hmac.compare_digest(mac, _mac(purpose, payload, key)):
            return payload
    return None


def _mac(purpose: bytes, payload: bytes, key: bytes) -> bytes:
    if len(key) < 16:
        raise ValueError("a token key needs at least 16 octets")
    framed = len(purpose).to_bytes(1, "big") + purpose + payload
    return hmac.digest(key, framed, sha256)[:MAC_OCTETS]
