"""A scripted mail server: it records every byte, and can misbehave at any step.

    async with SmtpPeer({"rcpt": b"451 Later", "end_of_data": [Act(close=True), Act()]}) as peer:
        …  # peer.port, peer.messages, peer.commands

A step without an act gets the reply of a working server. The acts of a list are used one after
another; the last one is used for all later commands.
"""

import asyncio
import ssl
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

END = b"\r\n.\r\n"
OCTETS_MAX = 64 * 1024 * 1024
EXTENSIONS = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "SIZE 41943040", "DSN")


SEGMENT_S = 0.05  # between TCP segments, so that they are not merged


@dataclass(frozen=True, slots=True)
class Act:
    """The behavior at a step: wait, reply, then hang, close or reset. reply: None for the default.

    pieces: the reply in several TCP segments.
    """

    reply: bytes | None = None
    wait_s: float = 0.0
    close: bool = False
    reset: bool = False
    hang: bool = False
    pieces: Sequence[bytes] = ()


Acts = Mapping[str, "bytes | Act | Sequence[bytes | Act]"]


@dataclass(slots=True)
class Connection:
    """One connection of a client. raw: every received byte, after TLS."""

    number: int
    source: str = ""
    raw: bytearray = field(default_factory=bytearray)
    commands: list[str] = field(default_factory=list)
    tls: bool = False
    bare_dot: bool = False


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that was received up to end of data. raw: dot-stuffed, without end of data."""

    mail_from: str
    rcpt_to: str
    raw: bytes
    connection: int

    @property
    def message(self) -> bytes:
        lines = self.raw.split(b"\r\n")
        return b"\r\n".join(line.removeprefix(b".") for line in lines)


class SmtpPeer:
    """Steps: greeting, ehlo, helo, starttls, rset, mail, rcpt, data, body, end_of_data, quit."""

    def __init__(
        self,
        acts: Acts | None = None,
        *,
        extensions: Sequence[str] = EXTENSIONS,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self.connections: list[Connection] = []
        self.messages: list[ReceivedMessage] = []
        self.refused_sources: dict[str, bytes] = {}  # replies to their RCPT commands
        self.received_s: list[float] = []  # when the MAIL commands arrived, by the loop's clock
        self._acts = {name: _listed(acts_of) for name, acts_of in (acts or {}).items()}
        self.tls = tls
        self.extensions = [*extensions, *(["STARTTLS"] if tls else [])]
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def commands(self) -> list[str]:
        return [command for one in self.connections for command in one.commands]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, limit=OCTETS_MAX)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        source = writer.get_extra_info("peername")[0]
        connection = Connection(len(self.connections) + 1, source)
        self.connections.append(connection)
        try:
            await _Session(self, connection, reader, writer).run()
        except (_Ended, ConnectionError, EOFError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            with suppress(Exception):
                writer.close()

    def sources(self) -> Counter[str]:
        """How many messages came from each address."""
        return Counter(self.connections[one.connection - 1].source for one in self.messages)

    def count_refused(self, source: str) -> int:
        """How many recipients of a refused source were refused."""
        own = [one for one in self.connections if one.source == source]
        rcpt = sum(command.startswith("RCPT") for one in own for command in one.commands)
        return rcpt - self.sources()[source]

    def act(self, step: str, source: str) -> Act:
        if step == "rcpt" and source in self.refused_sources:
            return Act(self.refused_sources[source])
        acts = self._acts.get(step)
        if not acts:
            return Act()
        return acts.pop(0) if len(acts) > 1 else acts[0]


def _listed(acts: "bytes | Act | Sequence[bytes | Act]") -> list[Act]:
    several = [acts] if isinstance(acts, bytes | Act) else acts
    return [Act(one) if isinstance(one, bytes) else one for one in several]


class _Ended(Exception):
    """The script ends the connection."""


class _Session:
    def __init__(
        self,
        peer: SmtpPeer,
        connection: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.peer = peer
        self.connection = connection
        self.reader = reader
        self.writer = writer
        self.mail_from = self.rcpt_to = ""

    async def run(self) -> None:
        await self.do("greeting", b"220 peer.example ESMTP")
        while True:
            line = await self.read(b"\n")
            command = line.decode("utf-8", "replace").rstrip("\r\n")
            self.connection.commands.append(command)
            await self.on(command.partition(" ")[0].lower(), command)

    async def on(self, verb: str, command: str) -> None:
        default = {
            "ehlo": self.ehlo_reply(),
            "helo": b"250 peer.example",
            "mail": b"503 5.5.1 Nested MAIL" if self.mail_from else b"250 2.1.0 Ok",
            "rcpt": b"250 2.1.5 Ok" if self.mail_from else b"503 5.5.1 MAIL first",
            "rset": b"250 2.0.0 Ok",
            "quit": b"221 2.0.0 Bye",
        }
        if verb == "starttls":
            await self.start_tls()
        elif verb == "data":
            await self.data()
        else:
            accepted = await self.do(verb, default.get(verb, b"502 5.5.1 What?"))
            self.record(command, accepted=accepted)

    def record(self, command: str, *, accepted: bool) -> None:
        verb = command[:4].lower()
        if verb == "quit":
            raise _Ended
        if verb == "rset":
            self.mail_from = self.rcpt_to = ""
        elif verb == "mail" and accepted:
            self.mail_from = _path(command)
            self.peer.received_s.append(asyncio.get_running_loop().time())
        elif verb == "rcpt" and accepted:
            self.rcpt_to = _path(command)

    def ehlo_reply(self) -> bytes:
        extensions = [
            one for one in self.peer.extensions if one != "STARTTLS" or not self.connection.tls
        ]
        lines = ["peer.example", *extensions]
        marked = [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]
        return "\r\n".join(marked).encode()

    async def start_tls(self) -> None:
        if not await self.do("starttls", b"220 2.0.0 Go ahead"):
            return
        assert self.peer.tls is not None
        await self.writer.start_tls(self.peer.tls)
        self.connection.tls = True

    async def data(self) -> None:
        default = b"354 Go ahead" if self.rcpt_to else b"554 5.5.1 No valid recipients"
        if not await self.do("data", default):
            return
        await self.do("body", b"")
        raw = await self.body()
        if raw:
            received = ReceivedMessage(self.mail_from, self.rcpt_to, raw, self.connection.number)
            self.peer.messages.append(received)
        self.mail_from = self.rcpt_to = ""
        await self.do("end_of_data", b"250 2.0.0 Ok: accepted")

    async def body(self) -> bytes:
        first = await self.read(b"\n")
        if first == b".\r\n":
            self.connection.bare_dot = True
            return b""
        return first + (await self.read(END))[: -len(END) + 2]

    async def read(self, until: bytes) -> bytes:
        data = await self.reader.readuntil(until)
        self.connection.raw += data
        return data

    async def do(self, step: str, default: bytes) -> bool:
        """Perform the act of a step; returns whether the reply was 2xx or 354."""
        act = self.peer.act(step, self.connection.source)
        if act.wait_s:
            await asyncio.sleep(act.wait_s)
        reply = default if act.reply is None else act.reply
        for piece in act.pieces:
            reply = b""
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(SEGMENT_S)
        if reply:
            self.writer.write(reply if reply.endswith(b"\n") else reply + b"\r\n")
            await self.writer.drain()
        if act.hang:
            await self.reader.read()  # until the client disconnects
            raise _Ended
        if act.reset:
            self.writer.transport.abort()
            raise _Ended
        if act.close:
            raise _Ended
        return (b"".join(act.pieces) or reply).startswith((b"2", b"354"))


def _path(command: str) -> str:
    return command.partition("<")[2].partition(">")[0]


def self_signed() -> ssl.SSLContext:
    """The context of a server with an expired, self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.pem"
        path.write_bytes(certificate())
        context.load_cert_chain(path)
    return context


def certificate() -> bytes:
    """A key and its certificate, for another name and expired, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody.else.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now - timedelta(days=30))
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + made.public_bytes(Encoding.PEM)
