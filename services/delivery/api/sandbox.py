"""The sandbox: an SMTP server that captures test mail, and refuses all other mail.

The journal identifies the message: the return path names it, and must equal the return path of its
assignment. Headers are not trusted, because tenants write them.
"""

import asyncio
import re
import socket
from typing import cast

from aiosmtpd.smtp import SMTP, syntax
from aiosmtpd.smtp import Envelope as SmtpEnvelope
from aiosmtpd.smtp import Session as AiosmtpdSession

from contracts.delivery.v1.events_pb2 import ComplaintReceived
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.database import Database
from kernel.errors import ConfigError, Unavailable
from kernel.outbox import Outbox
from kernel.settings import split_address
from kernel.topics import encode
from mail import parser, smtp
from mail.smtp_reply import clean_text
from services.delivery.domain.sandbox import SandboxScenario, message_id_of, scenario_of
from services.delivery.store.sandbox import CapturedMessage, SandboxStore

OCTETS_MAX = 64 * 1024 * 1024
NOT_TEST_MAIL = "550 5.7.1 the sandbox accepts only test mail of this installation"
UNAVAILABLE = "451 4.3.0 the sandbox cannot store mail at the moment"
TOO_LARGE = f"552 5.3.4 the sandbox accepts at most {OCTETS_MAX} octets"
_PATH = re.compile(r'<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>(.*)', re.DOTALL)
_END = b"\n.\r\n"


class SandboxSmtpHandler:
    """aiosmtpd's handler. A message is durable before the 250 is sent."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        store: SandboxStore,
        *,
        reply_delay_s: float,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._reply_delay_s = reply_delay_s
        self._store = store

    async def handle_RCPT(  # noqa: N802, PLR0917 - aiosmtpd's names and order
        self,
        server: SMTP,
        session: AiosmtpdSession,
        envelope: SmtpEnvelope,
        address: str,
        options: list[str],
    ) -> str:
        if envelope.rcpt_tos:
            return "452 4.5.3 the sandbox accepts one recipient per message"
        try:
            assignment = await self._assignment(str(envelope.mail_from), address)
        except Unavailable:
            return UNAVAILABLE
        if assignment is None:
            return NOT_TEST_MAIL
        if scenario_of(assignment).hangs:
            await asyncio.sleep(self._reply_delay_s)
            abort_connection(server)
            return "421 4.4.2 closing connection"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: AiosmtpdSession, envelope: SmtpEnvelope
    ) -> str:
        raw = envelope.content if isinstance(envelope.content, bytes) else b""
        try:
            assignment = await self._assignment(str(envelope.mail_from), envelope.rcpt_tos[0])
            if assignment is None:
                return NOT_TEST_MAIL
            scenario = scenario_of(assignment)
            reply = scenario.reply.format(recipient=assignment.context.recipient)
            await self._capture(CapturedMessage(assignment, subject_of(raw), reply, raw), scenario)
        except Unavailable:
            return UNAVAILABLE
        if scenario.cuts_connection:
            abort_connection(server)
            return "421 4.4.2 closing connection"
        return reply

    async def _assignment(self, mail_from: str, recipient: str) -> DeliveryAssigned | None:
        """The assignment of a test message; None for any other mail."""
        if (message_id := message_id_of(mail_from)) is None:
            return None
        async with self._database.transaction() as tx:
            found = await self._store.assignment(tx, message_id)
        if found is None or not found.context.test:
            return None
        expected = (found.context.return_path, found.context.recipient)
        return found if expected == (mail_from, recipient) else None

    async def _capture(self, capture: CapturedMessage, scenario: SandboxScenario) -> None:
        now = clock.now()
        events = [complaint_event(capture.assignment)] if scenario.complains else []
        trace = capture.assignment.context.traceparent
        async with self._database.transaction() as tx:
            await self._store.capture(tx, capture)
            entry = await self._outbox.add(tx, [encode(one, now, trace) for one in events])
        self._outbox.leave_to_sweep(entry)  # the sweep publishes a complaint, after the delivery


class SandboxServer(SMTP):
    """aiosmtpd with two changes: a path is the text between its brackets, unchanged; and a message
    is read by the buffer, because millions of empty lines would be as many objects.
    """

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        match = _PATH.fullmatch(arg.strip())
        return (match[1], match[2]) if match else (None, None)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if arg or self.envelope is None or not self.envelope.rcpt_tos:
            await self.push("501 5.5.4 Syntax: DATA" if arg else "503 5.5.1 need RCPT first")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        wire = await read_until_end_of_data(self._reader, OCTETS_MAX)
        reply: str = TOO_LARGE
        if wire is not None:
            self.envelope.content = smtp.dot_unstuff(wire)
            reply = await self._call_handler_hook("DATA")
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        await self.push(reply)


async def read_until_end_of_data(reader: asyncio.StreamReader, octets_max: int) -> bytes | None:
    """Read a message as sent, without end of data; None when it is too large."""
    pieces = [await reader.readexactly(1)]
    if pieces[0] == b".":
        pieces.append(await reader.readexactly(2))
        if pieces[1] == b"\r\n":
            return b""
    size, done = sum(map(len, pieces)), False
    while not done:
        try:
            piece, done = await reader.readuntil(_END), True
        except asyncio.LimitOverrunError as more:
            piece = await reader.readexactly(more.consumed)
        size += len(piece)
        if size > octets_max:
            pieces.clear()  # then read on to the end of data, and refuse it there
        pieces.append(piece)
    pieces[-1] = pieces[-1].removesuffix(b".\r\n")
    return b"".join(pieces) if size <= octets_max else None


class SandboxListener:
    """The port of the sandbox, bound at once, so that a port in use is an error at startup."""

    def __init__(self, address: str, sandbox: SandboxSmtpHandler) -> None:
        host, port = split_address(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, int(port)), family=family, backlog=256)
        except (OSError, ValueError) as error:
            raise ConfigError(f"DELIVERY_SANDBOX_LISTEN {address}: {error}") from error
        self._sandbox = sandbox

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    async def run(self) -> None:
        """Serve until canceled."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._session, sock=self._socket)
        try:
            await server.serve_forever()
        finally:
            server.close()

    def _session(self) -> SMTP:
        return SandboxServer(
            self._sandbox,
            hostname="sandbox.invalid",
            ident="ESMTP sandbox",
            enable_SMTPUTF8=True,
            data_size_limit=OCTETS_MAX,
            loop=asyncio.get_running_loop(),
        )


def abort_connection(server: SMTP) -> None:
    """Close a connection without a reply."""
    cast(asyncio.Transport, server.transport).abort()


def complaint_event(assignment: DeliveryAssigned) -> ComplaintReceived:
    """The complaint that a mailbox provider's feedback loop would report (RFC 5965)."""
    context = assignment.context
    event = ComplaintReceived(
        message_id=context.message_id,
        feedback_type="abuse",
        tenant_id=context.tenant_id,
        email_id=context.email_id,
        recipient=context.recipient,
        source="sandbox",
        test=True,
    )
    event.received_at.FromMilliseconds(clock.now_ms())
    return event


def subject_of(raw: bytes) -> str:
    return clean_text(parser.parse_entity(raw.partition(b"\r\n\r\n")[0]).get("subject"))
