"""An SMTP session after EHLO: RFC 5321 §3.3, pipelined if the server offers it (RFC 2920).

MAIL, RCPT and DATA are sent in one write, and their replies are read in order. The caller writes
the journal between the body and end of data.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from mail import smtp
from mail.address import AddressError
from mail.smtp_reply import Reply, ReplyParser
from services.delivery.clients.smtp.reply_checks import (
    RSET,
    SessionBroken,
    check_sequence_reply,
    may_refuse_parameters,
)
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.domain.attempt_result import (
    DATA,
    END_OF_DATA,
    MAIL,
    RCPT,
    AttemptResult,
    CommandAndReply,
    ReceivingServer,
    local_refusal,
)
from services.delivery.domain.rendering import WireMessage

END = b".\r\n"
CHUNK_BYTES = 128 * 1024  # of a body, between checks of the connection
REPLIES_MAX = 64  # unread replies


_quitting: set["asyncio.Task[None]"] = set()  # asyncio itself holds tasks only weakly


@dataclass(frozen=True, slots=True)
class EhloExtensions:
    """Offered extensions. size: maximum octets; 0: no limit; None: SIZE was not offered."""

    pipelining: bool = False
    utf8: bool = False
    eight_bit: bool = False
    size: int | None = None
    dsn: bool = False


class SmtpSession(asyncio.Protocol):
    """Takes over a transport. For one message at a time, call `send_envelope`, `send_body`,
    `end_data` and `read_final_reply`."""

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        peer: ReceivingServer,
        port: int,
        extensions: EhloExtensions,
        timeouts: SmtpTimeouts,
        on_dsn_refused: Callable[[], None] = lambda: None,
    ) -> None:
        """on_dsn_refused: called when the server refuses the DSN parameters that it offered."""
        self.peer = peer
        self.port = port
        self.extensions = extensions
        self.used = 0  # messages begun in this session
        self._timeouts = timeouts
        self._on_dsn_refused = on_dsn_refused
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser()
        self._replies: deque[Reply] = deque()
        self._dialogue: list[CommandAndReply] = []  # for the message
        self._problem = ""
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timeout_s = self._deadline_s = 0.0
        self._writable = asyncio.Event()
        self._writable.set()
        self._in_transaction = False
        self._is_idle = True  # no message in progress, so no reply is expected
        transport.set_protocol(self)

    # ── asyncio.Protocol ────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        if self._is_idle:
            self._break("the server sent data without a command")
            return
        self._replies += self._parser.feed(data)
        if self._parser.problem:
            self._break(self._parser.problem)
        elif len(self._replies) > REPLIES_MAX:
            self._break("the server sent replies without commands")
        elif self._replies:  # only a complete reply wakes the waiter
            self._wake()

    def eof_received(self) -> bool:
        self._break("the server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(f"the connection was lost: {exc}" if exc else "the connection was closed")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ── commands ────────────────────────────────────────────────────────────────────────────────

    @property
    def is_usable(self) -> bool:
        """Whether it is open without unexpected data, such as the 421 of a server that closes."""
        return not (self._problem or self._replies or self._parser.pending)

    async def send_envelope(self, message: WireMessage) -> AttemptResult | None:
        """Send MAIL, RCPT and DATA. None if the server waits for the body, or else the refusal."""
        if (refusal := self._check_extensions(message)) is not None:
            return refusal
        try:
            commands = self._commands(message)
        except AddressError as error:
            return local_refusal("invalid_recipient", str(error), enhanced="5.6.7", peer=self.peer)
        self.used += 1
        self._is_idle = False
        self._dialogue = []
        result = await self._exchange(commands)
        if result is not None and self.extensions.dsn and may_refuse_parameters(result):
            result = await self._send_envelope_without_dsn(message, result)
        self._in_transaction = self._is_idle = result is not None
        return None if result is None else replace(result, dialogue=tuple(self._dialogue))

    async def _send_envelope_without_dsn(
        self, message: WireMessage, refusal: AttemptResult
    ) -> AttemptResult | None:
        """Repeat the envelope without DSN, since no message must fail for optional parameters. If
        the server refuses it in the same way, the parameters were not the reason."""
        offered, self.extensions = self.extensions, replace(self.extensions, dsn=False)
        self._in_transaction = True
        result = await self._exchange(self._commands(message))
        if result == refusal:
            self.extensions = offered
        else:
            self._on_dsn_refused()
        return result

    def _check_extensions(self, message: WireMessage) -> AttemptResult | None:
        limit = self.extensions.size
        if limit and message.size > limit:
            problem = f"the message has {message.size} octets; the server accepts {limit}"
            return local_refusal("message_too_large", problem, enhanced="5.3.4", peer=self.peer)
        if message.utf8 and not self.extensions.utf8:
            problem = "the address or a header needs SMTPUTF8, which the server does not offer"
            return local_refusal("bad_configuration", problem, enhanced="5.6.7", peer=self.peer)
        return None

    def _commands(self, message: WireMessage) -> list[tuple[str, float, bytes]]:
        size = None if self.extensions.size is None else message.size
        times = self._timeouts
        commands = [
            (MAIL, times.mail_s, self._mail_from(message, size)),
            (RCPT, times.rcpt_s, self._rcpt_to(message)),
            (DATA, times.data_init_s, b"DATA\r\n"),
        ]
        # A refused transaction is still open on the server.
        return [(RSET, times.mail_s, b"RSET\r\n"), *commands] if self._in_transaction else commands

    def _mail_from(self, message: WireMessage, size: int | None) -> bytes:
        """MAIL FROM; a message that needs SMTPUTF8 also needs 8BITMIME (RFC 6531 §3.6)."""
        return smtp.mail_command(
            message.sender,
            size=size,
            eight_bit=message.utf8 and self.extensions.eight_bit,
            utf8=message.utf8,
            envelope_id=message.envelope_id if self.extensions.dsn else "",
        )

    def _rcpt_to(self, message: WireMessage) -> bytes:
        return smtp.rcpt_command(message.recipient, utf8=message.utf8, dsn=self.extensions.dsn)

    async def _exchange(self, commands: list[tuple[str, float, bytes]]) -> AttemptResult | None:
        """The first refusal, or None when the body may be sent."""
        refusal: AttemptResult | None = None
        step = MAIL
        try:
            if self.extensions.pipelining:
                self._write(b"".join(command for _, _, command in commands))
            for step, timeout_s, command in commands:
                if not self.extensions.pipelining:
                    self._write(command)
                reply = await self._reply(timeout_s, command)
                if refusal is None:
                    check_sequence_reply(step, reply)
                accepted = reply.code == 354 if step == DATA else reply.is_positive
                if refusal is not None and accepted and step == DATA:
                    self.abort()  # the server waits for a body without a recipient
                refused = None if accepted else AttemptResult(step, reply, peer=self.peer)
                refusal = refusal or refused
                if refusal and not self.extensions.pipelining:
                    break
        except SessionBroken as broken:
            self.abort()
            step = MAIL if step == RSET else step
            return refusal or AttemptResult(step, problem=str(broken), peer=self.peer)
        return refusal

    async def send_body(self, message: WireMessage) -> AttemptResult | None:
        """Send the message without end of data. A result if the server interrupted it."""
        wire = message.wire
        try:
            for start in range(0, len(wire), CHUNK_BYTES):
                self._write(wire if len(wire) <= CHUNK_BYTES else wire[start : start + CHUNK_BYTES])
                if not self._writable.is_set():
                    async with asyncio.timeout(self._timeouts.data_xfer_s):
                        await self._writable.wait()
                if self._replies:
                    break
        except (SessionBroken, TimeoutError) as error:
            return self._before_end_of_data(str(error) or "the server stopped reading")
        return self.interruption()

    def interruption(self) -> AttemptResult | None:
        """The result if the server has replied or disconnected before end of data."""
        if self._replies or self._problem:
            return self._before_end_of_data(self._problem)
        return None

    def _before_end_of_data(self, problem: str) -> AttemptResult:
        reply = self._replies.popleft() if self._replies else None
        self._dialogue.append(CommandAndReply(b"", reply))
        self.abort()
        if reply is None or reply.is_transient or reply.is_permanent:
            return AttemptResult(DATA, reply, problem, self.peer, dialogue=tuple(self._dialogue))
        problem = f"the server replied {reply.code} before end of data"
        return AttemptResult(DATA, problem=problem, peer=self.peer, dialogue=tuple(self._dialogue))

    def end_data(self) -> AttemptResult | None:
        """Send end of data (§4.1.1.4). A result if that was not possible; then it was not sent."""
        if (result := self.interruption()) is not None:
            return result
        try:
            self._write(END)
        except SessionBroken as broken:
            return self._before_end_of_data(str(broken))
        return None

    async def read_final_reply(self) -> AttemptResult:
        """The reply to end of data."""
        try:
            reply = await self._reply(self._timeouts.data_done_s, END)
            self._is_idle = True
            return AttemptResult(END_OF_DATA, reply, peer=self.peer, dialogue=tuple(self._dialogue))
        except SessionBroken as broken:
            self.abort()
            return AttemptResult(
                END_OF_DATA, None, str(broken), self.peer, dialogue=tuple(self._dialogue)
            )

    async def quit(self) -> None:
        """Send QUIT (§4.1.1.10), and wait only briefly for the reply."""
        self._is_idle = False
        try:
            self._write(b"QUIT\r\n")
            await self._reply(self._timeouts.quit_s, b"QUIT")
        except SessionBroken:
            pass
        finally:
            self._transport.close()

    def quit_in_background(self) -> None:
        task = self._loop.create_task(self.quit())
        _quitting.add(task)
        task.add_done_callback(_quitting.discard)

    def abort(self, why: str = "we closed the connection") -> None:
        """Close the connection at once."""
        self._break(why)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _write(self, data: bytes) -> None:
        if self._problem or self._transport.is_closing():
            raise SessionBroken(self._problem or "the connection was closed")
        self._transport.write(data)

    async def _reply(self, timeout_s: float, command: bytes) -> Reply:
        if not self._replies:
            await self._wait(timeout_s)
        reply = self._replies.popleft() if self._replies else None
        self._dialogue.append(CommandAndReply(command, reply))
        if reply is None:
            raise SessionBroken(self._problem)
        return reply

    async def _wait(self, timeout_s: float) -> None:
        if self._problem:
            return
        self._timeout_s, self._deadline_s = timeout_s, self._loop.time() + timeout_s
        if self._timer is None or self._timer.when() > self._deadline_s:
            self._set_timer()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _set_timer(self) -> None:
        """Set the timer that all waits share; it is set again only if it fires too early."""
        self._stop_timer()
        self._timer = self._loop.call_at(self._deadline_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline_s:
            self._set_timer()
        else:
            self._break(f"no reply within {self._timeout_s:g} s")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _break(self, problem: str) -> None:
        """Mark the session as broken, and close the connection."""
        if not self._problem:
            self._problem = problem
            self._transport.abort()
        self._stop_timer()
        self._writable.set()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
