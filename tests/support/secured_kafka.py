"""Kafka with a second listener: TLS with certificates of clients, who may do what ACLs allow."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from kernel.embedded.folder import Folder
from kernel.embedded.kafka import EmbeddedKafka
from kernel.tls import CertificateFiles
from tests.support.authority import DAY, Certified
from tests.support.tls import certificate_files

# The plain listener is that of the broker itself; one user may do everything, the others nothing.
SECURED = """
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},TLS://127.0.0.1:{tls}
advertised.listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},TLS://127.0.0.1:{tls}
listener.security.protocol.map=BROKER:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT,TLS:SSL
listener.name.tls.ssl.client.auth=required
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={folder}/broker.pem
listener.name.tls.ssl.truststore.type=PEM
listener.name.tls.ssl.truststore.location={folder}/authority.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:obm;User:CN=obm
"""


class SecuredKafka(EmbeddedKafka):
    """The certificates are in its folder."""

    tls_port: int

    def properties(self, data: Path) -> str:
        plain = super().properties(data).splitlines()
        kept = [line for line in plain if "listeners=" not in line]
        kept = [line for line in kept if not line.startswith("listener.security.protocol.map")]
        text = SECURED.format(
            port=self.port, controller=self._controller, tls=self.tls_port, folder=self.folder.path
        )
        return "\n".join(kept) + text


@contextmanager
def secured_kafka(path: Path, authority: Certified) -> Iterator[str]:
    """Its address with TLS. authority: of the broker and of its clients, a root."""
    path.mkdir()
    folder = Folder(path)
    folder.open()
    files = certificate_files(path / "broker", "127.0.0.1", issuer=authority)
    (path / "broker.pem").write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    write_authority(path / "authority.pem", authority)
    kafka = SecuredKafka(folder)
    kafka.tls_port = folder.port("tls", 0)
    try:
        kafka.start()
        yield f"127.0.0.1:{kafka.tls_port}"
    finally:
        kafka.kill()
        folder.close()


def write_authority(path: Path, authority: Certified) -> Path:
    path.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    return path


def client_files(folder: Path, name: str, authority: Certified) -> CertificateFiles:
    """The certificate of a client, by which ACLs know it."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .sign(authority.key, SHA256())
    )
    files = CertificateFiles(folder / "user.crt", folder / "user.key")
    files.certificate.write_bytes(made.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files
