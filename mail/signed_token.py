"""Signed tokens for addresses and URLs: keyed BLAKE2b (RFC 7693) in base64url (RFC 4648 §5).

A hash with a key of its own takes half the time of HMAC, and a message has a token for each link.

A token contains its payload and is bound to a purpose; without the key it cannot be created or
changed. The payload is readable, so it must not contain secrets.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import b2a_base64
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

MAC_OCTETS = 12  # 96 bits
_MAC_CHARS = 16  # encoded
MAX_TOKEN = 8192
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def sign(purpose: bytes, payload: bytes, key: bytes) -> str:
    """A token for `payload`, valid only for `purpose`. `key`: 16 to 64 secret octets."""
    return encode(_hash(purpose, payload, key).digest() + payload)


def sign_each(purpose: bytes, payload: bytes, key: bytes, *, ends: Iterable[bytes]) -> list[str]:
    """The tokens for the payload with each of these ends, up to the `encode`d end, which the caller
    appends. The payload is hashed and encoded once, so MAC and payload must be whole groups of
    three octets together."""
    begun = _hash(purpose, payload, key)
    macs = []
    for end in ends:
        whole = begun.copy()
        whole.update(end)
        macs.append(whole.digest())
    coded_macs, coded = encode(b"".join(macs)), encode(payload)
    return [
        coded_macs[at : at + _MAC_CHARS] + coded for at in range(0, len(coded_macs), _MAC_CHARS)
    ]


def encode(octets: bytes) -> str:
    """base64url without padding."""
    return b2a_base64(octets, newline=False).translate(_URL_SAFE, b"=").decode("ascii")


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
        if hmac.compare_digest(mac, _hash(purpose, payload, key).digest()):
            return payload
    return None


def _hash(purpose: bytes, payload: bytes, key: bytes) -> blake2b:
    if len(key) < 16:
        raise ValueError("a token key needs at least 16 octets")
    begun = _state(purpose, key).copy()
    begun.update(payload)
    return begun


@lru_cache(maxsize=64)
def _state(purpose: bytes, key: bytes) -> blake2b:
    """What is hashed before each payload."""
    return blake2b(bytes([len(purpose)]) + purpose, digest_size=MAC_OCTETS, key=key)
