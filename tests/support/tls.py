"""Clients of TLS listeners, and certificates for them."""

import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from kernel.tls import CertificateFiles
from tests.support.authority import Certified
from tests.support.submission import write_certificate


@dataclass(frozen=True, slots=True)
class Handshake:
    """names: of the certificate."""

    names: list[str]
    version: str
    alpn: str | None


def certificate_files(
    folder: Path, *names: str, issuer: Certified | None = None
) -> CertificateFiles:
    """A certificate, written to a folder; again: it replaces the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = write_certificate(folder, *names, issuer=issuer)
    return CertificateFiles(Path(certificate), Path(key))


def client_context(
    *, alpn: str = "http/1.1", maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """The context of a client that accepts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = maximum
    context.set_alpn_protocols([alpn])
    return context


def shake_hands(
    port: int,
    host: str | None = "localhost",
    *,
    context: ssl.SSLContext | None = None,
) -> Handshake:
    """Raises OSError. host: named by SNI."""
    context = context or client_context()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as sock,
        context.wrap_socket(sock, server_hostname=host) as tls,
    ):
        return handshake_of(tls)


def handshake_of(tls: ssl.SSLSocket) -> Handshake:
    certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    names = found.value.get_values_for_type(x509.DNSName)
    return Handshake(names, tls.version() or "", tls.selected_alpn_protocol())


def misbehave(port: int) -> None:
    """What does not speak TLS, and handshakes that break off."""
    hello = client_hello()
    for first in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 600, hello[:5] + b"\xff" * 600):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
            sock.sendall(first)
            await_end(sock)
    for _ in range(20):  # reset in the handshake
        with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
            sock.sendall(hello)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def await_end(sock: socket.socket) -> None:
    """Wait until the server closes the connection, perhaps after an alert."""
    with sock, suppress(ConnectionError):
        while sock.recv(1024):
            pass


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    client = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
