"""API keys: generation, parsing and authorization.

A key is `<brand>_<live|test>_<random><crc>`: 30 characters of base62, then six of its CRC-32, so
that secret scanners recognize our keys and a mistyped key needs no lookup. Only the SHA-256 of a
key is stored.
"""

import re
import secrets
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Generic, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from kernel.brand import Brand
from kernel.crypto import sha256

RANDOM_CHARS = 30  # of base62: 178 bits
PASSWORD_CHARS = 24  # of base62: 142 bits
CRC_CHARS = 6
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FULL_ACCESS = "full_access"
SENDING_ACCESS = "sending_access"

_KEY = re.compile(rf"([a-z]+)_(live|test)_([0-9A-Za-z]{{{RANDOM_CHARS}}})([0-9A-Za-z]{{6}})")


class AuthError(Exception):
    """reason: missing, invalid, expired, ip_not_allowed or restricted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Credential(Protocol):
    """The stored properties of a key."""

    @property
    def test(self) -> bool: ...
    @property
    def deleted(self) -> bool: ...
    @property
    def scopes(self) -> Sequence[str]: ...
    @property
    def cidrs(self) -> Sequence[str]: ...
    @property
    def expires_at(self) -> Timestamp: ...


C = TypeVar("C", bound=Credential)


def generate_key(*, test: bool, brand: str) -> str:
    """A new key. Show it once and store only its `digest`. brand: a slug."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARS))
    prefix = f"{brand}_{'test' if test else 'live'}_{body}"
    return prefix + checksum(prefix)


def generate_password() -> str:
    """A new password: letters and digits, so that every client can store it and every shell takes
    it. It is random, so that a plain SHA-256 protects it as well as a slow hash."""
    return "".join(secrets.choice(ALPHABET) for _ in range(PASSWORD_CHARS))


def is_api_key(text: str) -> bool:
    """Whether a password is meant to be an API key, whether valid or not."""
    return _KEY.fullmatch(text) is not None


def brand_of(prefix: str) -> str:
    """The slug in the first characters of a key. Keys that were made before prefixes were stored
    have none: a rotated one is then of the default brand."""
    return prefix.partition("_")[0] or Brand().slug


def checksum(text: str) -> str:
    """CRC-32 in base62, six characters."""
    number, characters = zlib.crc32(text.encode()), ""
    for _ in range(CRC_CHARS):
        number, digit = divmod(number, 62)
        characters = ALPHABET[digit] + characters
    return characters


@lru_cache(maxsize=10_000)
def digest(key: str) -> bytes:
    """SHA-256 of a well-formed key. Raises AuthError for anything else."""
    match = _KEY.fullmatch(key)
    if match is None or checksum(key[:-CRC_CHARS]) != match[4]:
        raise AuthError("invalid", "the API key is malformed. Check that it was copied completely.")
    return sha256(key)


def bearer_key(authorization: str) -> str:
    """The key in `Authorization: Bearer <key>`. Raises AuthError."""
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise AuthError(
            "missing", "the API key is missing. Send it in the header Authorization: Bearer <key>"
        )
    return key.strip()


def authorize(credential: Credential, *, client: str, now_s: float, scope: str) -> None:
    """Raises AuthError for the first check that fails: existence, expiry, network, scope.

    client: the caller's IP address. scope: required by the route; full_access includes every scope.
    """
    if credential.deleted:
        raise AuthError("invalid", "the API key does not exist")
    expiry = credential.expires_at.seconds
    if expiry and expiry <= now_s:
        raise AuthError("expired", "the API key has expired")
    if credential.cidrs and not _within(client, tuple(credential.cidrs)):
        raise AuthError("ip_not_allowed", f"the API key cannot be used from {client}")
    if scope not in credential.scopes and FULL_ACCESS not in credential.scopes:
        raise AuthError("restricted", f"the API key does not have the scope {scope}")


def _within(client: str, cidrs: tuple[str, ...]) -> bool:
    try:
        address = ip_address(client)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in _networks(cidrs))


@lru_cache(maxsize=1_000)
def _networks(cidrs: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(cidr, strict=False) for cidr in cidrs)


class ApiKeyAuthenticator(Generic[C]):
    """cached: find a credential in memory by digest. fetch: query the database on a miss."""

    def __init__(
        self, cached: Callable[[bytes], C | None], fetch: Callable[[bytes], Awaitable[C | None]]
    ) -> None:
        self._cached = cached
        self._fetch = fetch

    async def authenticate(
        self, authorization: str, *, client: str, now: datetime, scope: str
    ) -> C:
        """The credential of a request. Raises AuthError."""
        hashed = digest(bearer_key(authorization))
        credential = self._cached(hashed) or await self._fetch(hashed)
        if credential is None:
            raise AuthError("invalid", "the API key does not exist")
        authorize(credential, client=client, now_s=now.timestamp(), scope=scope)
        return credential
