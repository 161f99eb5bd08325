"""Validation of a server's certificate chain: RFC 5280 §6, RFC 9525, as in browsers."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

CERTIFICATES_MAX = 10  # of a chain

# Errors of the parser for malformed certificates; the last if warnings are errors.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)


class ChainFault(StrEnum):
    """Why a chain is not valid."""

    EXPIRED = "expired"  # or not valid yet
    WRONG_NAME = "wrong name"
    UNTRUSTED = "untrusted"  # or malformed


def create_trust_store(roots: Sequence[bytes]) -> Store | None:
    """A store of trusted authorities, given as DER; None if there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some old authorities have nonstandard serial numbers
        found = list(_read(roots))
    return Store(found) if found else None


def is_valid_chain(
    chain: Sequence[bytes], name: str, *, trusted: Store | None, now: datetime
) -> bool:
    """Whether a chain is valid for a name. chain: as DER, the server's certificate first. name: a
    host name or an address."""
    if trusted is None or not 0 < len(chain) <= CERTIFICATES_MAX:
        return False
    try:
        leaf = x509.load_der_x509_certificate(chain[0])
        verifier = PolicyBuilder().store(trusted).time(now).build_server_verifier(_subject(name))
        verifier.verify(leaf, list(_read(chain[1:])))
    except (VerificationError, *UNREADABLE):
        return False
    return True


def fault_of(chain: Sequence[bytes], name: str, *, now: datetime) -> ChainFault:
    """The fault of a chain that is not valid for a name. chain, name: as for `is_valid_chain`."""
    leaf = next(_read(chain[:1]), None)
    if leaf is None:
        return ChainFault.UNTRUSTED
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        return ChainFault.EXPIRED
    return ChainFault.UNTRUSTED if is_named(leaf, [name]) else ChainFault.WRONG_NAME


def is_named(certificate: x509.Certificate, names: Iterable[str]) -> bool:
    """Whether a certificate is for one of the names: host names, or addresses."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False
    given = [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]
    given += map(str, extension.value.get_values_for_type(x509.IPAddress))
    return any(_covers(pattern, name.strip("[].").lower()) for pattern in given for name in names)


def _covers(pattern: str, name: str) -> bool:
    """RFC 6125 §6.4.3: a wildcard must be the whole first label."""
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return pattern == name


def read_chain(chain: Sequence[bytes]) -> list[x509.Certificate]:
    """The certificates of a chain, as far as they can be read; empty if the server's cannot."""
    leaf = list(_read(chain[:1]))
    return leaf and [*leaf, *_read(chain[1:CERTIFICATES_MAX])]


def _read(certificates: Sequence[bytes]) -> Iterator[x509.Certificate]:
    """The readable certificates; a chain can be valid without the others."""
    for one in certificates:
        with suppress(*UNREADABLE):
            yield x509.load_der_x509_certificate(one)


def _subject(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name.rstrip("."))
