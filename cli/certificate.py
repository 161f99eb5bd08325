"""A self-signed certificate for the listeners of `obm run`."""

from datetime import UTC, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kernel import clock
from kernel.embedded.folder import make_folder, write_atomically

VALID = timedelta(days=397)  # the most that browsers accept
RENEW_BEFORE = timedelta(days=30)
NAMES = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("::1")),
)
USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def local_certificate(folder: Path) -> tuple[Path, Path]:
    """The files of the certificate and its key in a data folder; made, and renewed in time."""
    certificate, key = folder / "tls" / "certificate.pem", folder / "tls" / "key.pem"
    if not (certificate.exists() and key.exists() and _is_valid(certificate)):
        make_folder(folder)
        make_folder(folder / "tls")
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(key, pem.decode())
        write_atomically(certificate, _self_signed(private).public_bytes(Encoding.PEM).decode())
    return certificate, key


def _is_valid(certificate: Path) -> bool:
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    return found.not_valid_after_utc - RENEW_BEFORE > clock.now().astimezone(UTC)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now, public = clock.now(), key.public_key()
    serves = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
        .add_extension(serves, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .add_extension(USAGE, critical=True)
        # Clients that trust this file take it for its own authority.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
