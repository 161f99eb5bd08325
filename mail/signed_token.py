"""Signed tokens for addresses and URLs: HMAC-SHA256 (RFC 2104) in base64url (RFC 4648 §5).

A token says what was put in and for which purpose; whoever has no key can make none and change
none. The content is readable: put nothing secret in.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256

MAC_OCTETS = 12  # 96 bits
MAX_TOKEN = 8192


def sign(purpose: bytes, payload: bytes, key: bytes) -> str:
    """A token of `payload`, good for `purpose` only. `key`: at least 16 secret octets."""
    coded = urlsafe_b64encode(_mac(purpose, payload, key) + payload)
    return coded.rstrip(b"=").decode("ascii")


def verify(purpose: bytes, token: str, keys: Iterable[bytes]) -> bytes | None:
    """The payload, or None when no key made this token for this purpose.

    A token has one spelling: another that decodes to the same octets is refused.
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
