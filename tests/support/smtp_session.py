"""An SMTP client that records what the server shows: its replies and its certificate."""

import base64
import socket
from collections.abc import Callable

from cryptography import x509

from tests.support.tls import client_context


class SmtpSession:
    """saw: gets everything that the server sends, with what it answers. host: named in TLS, if it
    is not empty. tls: from the start."""

    def __init__(
        self, saw: Callable[[str, str], None], port: int, host: str = "", *, tls: bool
    ) -> None:
        self._saw = saw
        self._host = host
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        if tls:
            self.start_tls()
        self._file = self._socket.makefile("rb")
        self.greeting = self.read("greeting")

    def __enter__(self) -> "SmtpSession":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def start_tls(self) -> None:
        """Without SNI if there is no host."""
        tls = client_context().wrap_socket(self._socket, server_hostname=self._host or None)
        certificate = tls.getpeercert(binary_form=True) or b""
        found = x509.load_der_x509_certificate(certificate)
        self._saw("certificate", f"{found.subject} {found.issuer} {found.extensions}")
        self._saw("certificate", certificate.decode("latin-1"))
        self._socket, self._file = tls, tls.makefile("rb")

    def read(self, where: str) -> str:
        reply = ""
        while line := self._file.readline().decode():
            reply += line
            if line[3:4] != "-":
                break
        self._saw(f"SMTP {where}", reply)
        return reply

    def send(self, *lines: str) -> str:
        """The last reply."""
        for line in lines:
            self._socket.sendall(f"{line}\r\n".encode())
            reply = self.read(line.split()[0] if line else "empty")
        return reply

    def log_in(self, username: str, password: str) -> str:
        plain = base64.b64encode(f"\0{username}\0{password}".encode()).decode()
        return self.send(f"AUTH PLAIN {plain}")
