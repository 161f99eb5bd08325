"""DANE for SMTP: RFC 7672, TLSA records RFC 6698. Valid only for answers authenticated by DNSSEC.

Senders use certificate usages 2 (trust anchor) and 3 (end entity). Usages 0 and 1 do not apply to
SMTP (RFC 7672 §3.1.3) and make a record unusable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256, sha512

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mail.tls_chain import is_named

TRUST_ANCHOR, END_ENTITY = 2, 3
_LENGTHS = {0: 0, 1: 32, 2: 64}  # octets of the data by matching type; 0: any length


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One TLSA record."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        """As in a zone file (RFC 6698 §2.2)."""
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"

    @property
    def is_usable(self) -> bool:
        """Whether an SMTP client can use it (RFC 7672 §3.1)."""
        return (
            self.usage in (TRUST_ANCHOR, END_ENTITY)
            and self.selector in (0, 1)
            and self.matching in _LENGTHS
            and len(self.data) == (_LENGTHS[self.matching] or len(self.data))
            and bool(self.data)
        )


def record_name(host: str, port: int = 25) -> str:
    """The name of an MX host's records; `host`: after following a secure CNAME (§2.2.2)."""
    return f"_{port}._tcp.{host}"


def usable_records(records: Sequence[Tlsa]) -> list[Tlsa]:
    """The usable records. If records exist but none is usable, TLS is required without
    authentication (§2.2)."""
    return [record for record in records if record.is_usable]


def matches(
    records: Sequence[Tlsa],
    chain: Sequence[x509.Certificate],
    names: Sequence[str],
    *,
    now: datetime,
) -> bool:
    """Whether a record authenticates the server. `chain`: as sent, its own certificate first.

    `names`: DNS names in lower case that a certificate under a trust anchor can have (the MX host
    and the domain). With usage 3 neither names nor dates are checked (§3.1.1). `now`:
    timezone-aware.
    """
    if not chain:
        return False
    for record in usable_records(records):
        if record.usage == END_ENTITY and _matches(record, chain[0]):
            return True
        if (
            record.usage == TRUST_ANCHOR
            and _is_anchored(record, chain, now)
            and is_named(chain[0], names)
        ):
            return True
    return False


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    if record.selector == 0:
        data = certificate.public_bytes(Encoding.DER)
    else:
        key = certificate.public_key()
        data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if record.matching:
        data = (sha256 if record.matching == 1 else sha512)(data).digest()
    return data == record.data


def _is_anchored(record: Tlsa, chain: Sequence[x509.Certificate], now: datetime) -> bool:
    """Whether an issuer in the chain is the anchor and each certificate was issued by the next.

    All must be in their validity period, and intermediate ones must be CAs (RFC 5280 §6.1.4):
    otherwise the owner of any certificate under the anchor could issue more.
    """
    if not _is_in_time(chain[0], now):
        return False
    for index, issuer in enumerate(chain[1:], 1):
        if not (_issued(chain[index - 1], issuer) and _is_in_time(issuer, now)):
            return False
        if _matches(record, issuer):
            return True
        if not _is_authority(issuer):
            return False
    return False


def _is_in_time(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return found.value.ca


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
