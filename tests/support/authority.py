"""A certificate authority for mail servers, which can also issue invalid certificates."""

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
CERTIFIES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Certified:
    """A key and its certificate, with the intermediate certificates above it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(cls, name: str) -> Self:
        """A self-signed root authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, certificate(name, key, issuer=name, by=key, authority=True))

    @classmethod
    def self_signed(cls, *names: str) -> Self:
        """A server without an authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, certificate("server", key, issuer="server", by=key, names=names))

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def chain(self) -> list[bytes]:
        """The chain as a server sends it."""
        return [self.der, *(one.public_bytes(Encoding.DER) for one in self.above)]

    def authority(self, name: str) -> "Certified":
        """An intermediate authority below this one."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = certificate(name, key, issuer=self.name, by=self.key, authority=True)
        return Certified(key, made, (made,))

    def server(
        self, *names: str, since: timedelta = -DAY, until: timedelta = 30 * DAY
    ) -> "Certified":
        key = ec.generate_private_key(ec.SECP256R1())
        made = certificate(
            "server", key, issuer=self.name, by=self.key, names=names, since=since, until=until
        )
        return Certified(key, made, self.above)

    @property
    def name(self) -> str:
        [attribute] = self.certificate.subject
        return str(attribute.value)

    def context(self) -> ssl.SSLContext:
        """The TLS context of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = [one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pair.pem"
            path.write_bytes(b"".join((private, *chain)))
            context.load_cert_chain(path)
        return context


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: str,
    by: ec.EllipticCurvePrivateKey,
    authority: bool = False,
    names: tuple[str, ...] = (),
    since: timedelta = -DAY,
    until: timedelta = 30 * DAY,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
        )
    )
    if authority:
        builder = builder.add_extension(CERTIFIES, critical=True)
    else:
        serves = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        alternative = x509.SubjectAlternativeName([general(one) for one in names])
        builder = builder.add_extension(serves, critical=False)
        builder = builder.add_extension(alternative, critical=False)
    return builder.sign(by, SHA256())


def general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
