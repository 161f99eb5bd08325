"""DANE for SMTP: RFC 7672, TLSA records RFC 6698. Valid only for answers authenticated by DNSSEC.

Senders use certificate usages 2 (trust anchor) and 3 (end entity). Usages 0 and 1 do not apply to
SMTP (RFC 7672 §3.1.3) and make a record unusable.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256, sha512
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mail.tls_chain import UNREADABLE, is_named

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
    and the domain). The chain is verified once, however many records there are, and a certificate
    that cannot be read matches none. With usage 3 neither names nor dates are checked (§3.1.1).
    `now`: timezone-aware.
    """
    if not chain:
        return False
    usable = usable_records(records)
    if _is_listed([one for one in usable if one.usage == END_ENTITY], chain[0]):
        return True
    anchors = [one for one in usable if one.usage == TRUST_ANCHOR]
    if not anchors or not is_named(chain[0], names):
        return False
    return any(_is_listed(anchors, issuer) for issuer in _issuers(chain, now))


def _is_listed(records: Sequence[Tlsa], certificate: x509.Certificate) -> bool:
    """Whether one of the records is for the certificate."""
    listed = {(one.selector, one.matching, one.data) for one in records}
    kinds = {(selector, matching) for selector, matching, _ in listed}
    return any((*kind, _data_of(certificate, *kind)) in listed for kind in kinds)


def _data_of(certificate: x509.Certificate, selector: int, matching: int) -> bytes:
    """What a record for the certificate has as its data; empty if its key cannot be read."""
    try:
        if selector == 0:
            data = certificate.public_bytes(Encoding.DER)
        else:
            key = certificate.public_key()
            data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UNREADABLE:
        return b""  # no usable record has empty data
    if matching:
        data = (sha256 if matching == 1 else sha512)(data).digest()
    return data


def _issuers(chain: Sequence[x509.Certificate], now: datetime) -> Iterator[x509.Certificate]:
    """The certificates that can be the anchor: each issued the one before it.

    All must be in their validity period, and intermediate ones must be CAs (RFC 5280 §6.1.4):
    otherwise the owner of any certificate under the anchor could issue more.
    """
    if not _is_in_time(chain[0], now):
        return
    for certificate, issuer in pairwise(chain):
        if not (_issued(certificate, issuer) and _is_in_time(issuer, now)):
            return
        yield issuer
        if not _is_authority(issuer):
            return


def _is_in_time(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False
    return found.value.ca


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True
