"""Validation of a server's certificate chain: RFC 5280 §6, RFC 9525, as in browsers."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

CERTIFICATES_MAX = 10  # of a chain

# Errors of the parser for malformed certificates; the last if warnings are errors.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)


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
    except (VerificationError, *_UNREADABLE):
        return False
    return True


def _read(certificates: Sequence[bytes]) -> Iterator[x509.Certificate]:
    """The readable certificates; a chain can be valid without the others."""
    for one in certificates:
        with suppress(*_UNREADABLE):
            yield x509.load_der_x509_certificate(one)


def _subject(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name.rstrip("."))
