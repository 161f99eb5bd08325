"""Clients of submission: of a session without a network, and of a port; and a certificate."""

import base64
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mail.smtp_server import ServerSession
from mail.smtp_server_events import Event, Login, MessageReceived, ServerConfig, StartTls
from tests.support.authority import Certified

CONFIG = ServerConfig("mx.example.net", octets_max=10_000, recipients_max=5)
LOGIN = b"AUTH PLAIN " + base64.b64encode(b"\0anna\0secret") + b"\r\n"
ENVELOPE = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n"
# What other servers may take for the end of data.
SMUGGLED = (
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n",
    b"\r\n.\0\r\n", b"\n\n.\r\n", b"\r\r\n.\n", b"\r\n.\r\r\n", b"\n.\r", b"\r.\n",
)  # fmt: skip
SECOND = (
    b"MAIL FROM:<evil@a.example>\r\nRCPT TO:<victim@b.example>\r\nDATA\r\nFrom: x\r\n\r\nsmuggled"
)


@dataclass
class Conversation:
    """password: the one that is right. secure: TLS is on from the start."""

    password: str = "secret"
    secure: bool = True
    config: ServerConfig = CONFIG
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = ServerSession(self.config, secure=self.secure)
        self.session.greet()
        self.greeting = self.session.take_replies()

    def send(self, data: bytes) -> bytes:
        """Send octets in one segment. Returns the replies."""
        self.session.receive(data)
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            self.session.respond(self._reply(event))
            if isinstance(event, StartTls):
                self.session.start_tls()
        return self.session.take_replies()

    def codes(self, data: bytes) -> list[str]:
        """Send octets. Returns the codes of the replies, with the enhanced code if there is one."""
        lines = [line.decode() for line in self.send(data).splitlines() if line[3:4] != b"-"]
        return [
            " ".join(line.split(" ")[: 2 if "." in line.split(" ")[1] else 1]) for line in lines
        ]

    def log_in(self) -> "Conversation":
        self.send(b"EHLO client\r\n")
        self.send(LOGIN)
        return self

    @property
    def messages(self) -> list[bytes]:
        return [event.content for event in self.events if isinstance(event, MessageReceived)]

    def _reply(self, event: Event) -> str:
        if isinstance(event, Login) and event.password != self.password:
            return "535 5.7.8 no"
        return "250 2.0.0 Ok"


def write_certificate(
    folder: Path, *names: str, issuer: Certified | None = None
) -> tuple[str, str]:
    """A certificate chain and its key, as files."""
    issuer = issuer or Certified.root("root")
    made = issuer.server(*(names or ("localhost", "127.0.0.1")))
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    chain = (made.certificate, *made.above, issuer.certificate)
    certificate.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    key.write_bytes(made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(certificate), str(key)


def certificate_of(folder: Path) -> dict[str, str]:
    """Settings with the certificate in a folder, which is made for its first user."""
    if not (folder / "certificate.pem").exists():
        folder.mkdir(exist_ok=True)
        write_certificate(folder)
    return {
        "tls_certificate": str(folder / "certificate.pem"),
        "tls_key": str(folder / "key.pem"),
    }


class RawClient:
    """An SMTP client that sends the octets that it is given, over TLS or not."""

    def __init__(self, port: int, *, tls: bool, first: bytes = b"") -> None:
        """first: octets before TLS."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.sendall(first)
        if tls:
            self.start_tls()
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def start_tls(self) -> None:
        """Without verification."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._socket = context.wrap_socket(self._socket)
        self._file = self._socket.makefile("rb")

    def reply(self) -> str:
        """The next reply; empty if the server has closed the connection."""
        try:
            line = self._file.readline()
            while line[3:4] == b"-":
                line = self._file.readline()
        except OSError:
            return ""
        return line.decode().rstrip("\r\n")

    def send(self, data: bytes, replies: int = 1) -> list[str]:
        with suppress(OSError):  # the server has closed the connection
            self._socket.sendall(data)
        return [self.reply() for _ in range(replies)]

    def flood(self, data: bytes, *, seconds: float) -> bool:
        """Send the octets again and again. True once the server has ended the connection; False if
        it still takes them after these seconds."""
        deadline_s = time.monotonic() + seconds
        self._socket.setblocking(False)
        while time.monotonic() < deadline_s:
            try:
                self._socket.send(data)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                time.sleep(0.01)
            except OSError:
                return True
        return False

    def log_in(self, key: str) -> str:
        self.reply()
        self.send(b"EHLO client\r\n")
        login = base64.b64encode(b"\0any\0" + key.encode())
        return self.send(b"AUTH PLAIN " + login + b"\r\n")[0]
