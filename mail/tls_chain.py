"""Whether a server's certificates prove its name: RFC 5280 §6, RFC 9525, as browsers judge it."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

CERTIFICATES_MAX = 10  # of a chain that is looked at

# What a stranger's certificate makes the parser raise, the last where warnings are errors.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)


def store(roots: Sequence[bytes]) -> Store | None:
    """Of the authorities that are trusted, as DER; None without any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the serial numbers of some old authorities
        found = list(_read(roots))
    return Store(found) if found else None


def is_valid_chain(
    chain: Sequence[bytes], name: str, *, trusted: Store | None, now: datetime
) -> bool:
    """chain: as DER, the server's own certificate first. name: a host's, or an address."""
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
    """Those that can be read: a chain may do without the others."""
    for one in certificates:
        with suppress(*_UNREADABLE):
            yield x509.load_der_x509_certificate(one)


def _subject(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name.rstrip("."))
