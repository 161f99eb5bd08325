"""Certificates of the hosts of domains: when they are ordered, renewed and ordered again."""

import hashlib
import json
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

# Let's Encrypt allows five failed validations of a host in an hour: these are four, at 0, 5, 15 and
# 35 minutes.
RETRY_MIN = timedelta(minutes=5)
RETRY_MAX = timedelta(hours=24)
# After two weeks: names that no longer lead here must not use up the orders of others.
FAILURES_MAX = 20
PROBLEM_MAX = 500
RENEW_AT = 2 / 3  # of its life
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class CertificateOrderFailed(Exception):
    """Why no certificate was issued, in words. wait_s: for how long nothing else should be ordered
    either, because it is not for the host that the order failed; 0: it is. is_forbidden: by the CAA
    records of the host."""

    def __init__(self, problem: str, *, wait_s: float = 0.0, is_forbidden: bool = False) -> None:
        super().__init__(problem)
        self.problem = " ".join(problem.replace("\0", "").split())[:PROBLEM_MAX]
        self.wait_s = wait_s
        self.is_forbidden = is_forbidden


class ExternalAccountBinding(NamedTuple):
    """What proves to an authority that its account is that of a customer of it (RFC 8555 §7.3.4):
    the identifier of a key, and the key."""

    key_id: str
    hmac_key: bytes


class IssuedCertificate(NamedTuple):
    """key, chain: in PEM."""

    key: bytes
    chain: bytes
    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, key: bytes, chain: bytes) -> "IssuedCertificate":
        """Raises ValueError."""
        leaf = x509.load_pem_x509_certificate(chain)
        return cls(key, chain, leaf.not_valid_before_utc, leaf.not_valid_after_utc)

    @property
    def renew_at(self) -> datetime:
        return self.not_before + RENEW_AT * (self.not_after - self.not_before)


def retry_delay(failures: int) -> timedelta | None:
    """The time from an order that failed to the next one; None if there is none. failures: in a
    row, with this one."""
    if failures >= FAILURES_MAX:
        return None
    return min(RETRY_MIN * (1 << (failures - 1)), RETRY_MAX)


def claim_delay(failures: int) -> timedelta:
    """The time from an order that was never answered, because its process has ended, to the next
    one. There always is one. failures: in a row before it."""
    return retry_delay(failures + 1) or RETRY_MAX


def account_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """The key of the account at the authority, from 32 octets that all processes know: so each can
    answer challenges without a database. P-256, as RFC 8555 §6.2 requires for ES256."""
    number = int.from_bytes(secret, "big") % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def thumbprint(key: ec.EllipticCurvePrivateKey) -> str:
    """Of the public key (RFC 7638). The answer to a challenge is its token, a dot and this
    (RFC 8555 §8.1)."""
    public = key.public_key().public_numbers()
    jwk = {"crv": "P-256", "kty": "EC", "x": _base64(public.x), "y": _base64(public.y)}
    text = json.dumps(jwk, separators=(",", ":"), sort_keys=True)
    return _base64_of(hashlib.sha256(text.encode()).digest())


def _base64(number: int) -> str:
    return _base64_of(number.to_bytes(32, "big"))


def _base64_of(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")
