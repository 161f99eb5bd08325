"""One SMTP connection: octets, TLS and deadlines around the session."""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from kernel.tls import CLOSE_S, HANDSHAKE_S, server_name
from mail.smtp_server import ServerSession
from mail.smtp_server_events import Event, Login, ServerConfig, StartTls
from services.ingest.api.submission.submitter import Submitter

LOGIN_S = 120.0  # from the connection to a login
COMMAND_S = 300.0  # for each command (RFC 5321 §4.5.3.2.7)
MESSAGE_S = 600.0  # for each message
BUSY_CHECK_S = 1.0  # from a deadline that passed while the server was busy to the next check
UNREAD_MAX = 64 * 1024  # octets that wait while a message is accepted
TIMEOUT = "421 4.4.2 The client was too slow"
STOPPING = "421 4.3.2 The service is stopping"


class SubmissionConnection(asyncio.Protocol):
    """Call `run` once connected. name_of: of the server, by the host that the client names in TLS.
    secure: TLS is on.

    What needs only memory is answered as it arrives; `run` waits for the rest.
    """

    def __init__(
        self,
        submitter: Submitter,
        config: ServerConfig,
        *,
        context: ssl.SSLContext,
        name_of: Callable[[str], str],
        secure: bool,
    ) -> None:
        self._submitter = submitter
        self._session = ServerSession(config, secure=secure)
        self._context = context
        self._name_of = name_of
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_busy = True  # `run` works; what arrives meanwhile has to wait
        self._wake = asyncio.Event()  # there is work for `run`
        self._event: Event | None = None  # that `run` responds to
        self._is_lost = self._is_stopping = self._is_paused = False
        self._is_writable = True
        self._lines = -1  # that the deadline belongs to
        self._login_by_s = self._loop.time() + LOGIN_S
        self._deadline_s = self._login_by_s
        self._timer: asyncio.TimerHandle | None = None

    # ── asyncio.Protocol ────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._session.receive(data)
        octets = self._session.message_octets
        if octets and (refusal := self._submitter.reserve(octets)):
            self._session.refuse_message(refusal)
        if not self._is_busy:
            self._advance()
        elif self._session.unread_octets > UNREAD_MAX:
            self._pause()

    def eof_received(self) -> None:
        self._lose()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose()

    def pause_writing(self) -> None:
        """The client does not read its replies: read no more of its commands."""
        self._is_writable = False
        self._pause()

    def resume_writing(self) -> None:
        self._is_writable = True
        if not self._is_busy:
            self._advance()

    # ── the session ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until the client or the session closes the connection."""
        try:
            self._set_hostname()
            self._session.greet()
            self._check_deadline()
            self._advance()
            while True:
                await self._wake.wait()
                self._wake.clear()
                if (event := self._event) is None:
                    return
                await self._respond(event)
        except OSError:  # of the connection, or of TLS
            pass
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._submitter.close()
            if self._transport is not None:
                self._transport.close()

    def stop(self) -> None:
        """Close the session after the current message."""
        self._is_stopping = True
        if not self._is_busy:
            self._advance()

    def _advance(self) -> None:
        """Answer what has arrived, and wait for more octets, or leave the next event to `run`."""
        self._is_busy = False
        event = None
        while self._is_writable and (event := self._session.next_event()) is not None:
            if not (reply := self._submitter.respond_now(event)):
                break
            self._session.respond(reply)
        if event is None and self._is_stopping and not self._session.expects_message:
            self._session.close(STOPPING)
        self._flush()  # replies to a group go together (RFC 2920 §3.2)
        if event is not None or self._session.is_closed or self._is_lost:
            self._hand_over(event)
        else:
            self._await_octets()

    def _hand_over(self, event: Event | None) -> None:
        """Let `run` respond to the event, or end."""
        self._is_busy, self._event = True, event
        self._wake.set()

    def _await_octets(self) -> None:
        self._submitter.reserve(self._session.message_octets)
        if self._is_paused and self._is_writable and self._transport is not None:
            self._transport.resume_reading()
            self._is_paused = False
        if self._lines != self._session.lines:
            self._lines = self._session.lines
            limit_s = MESSAGE_S if self._session.expects_message else COMMAND_S
            self._deadline_s = self._loop.time() + limit_s

    async def _respond(self, event: Event) -> None:
        if isinstance(event, StartTls):
            await self._start_tls()
        else:
            self._session.respond(await self._submitter.respond(event))
            if isinstance(event, Login) and (name := self._submitter.hostname):
                self._session.hostname = name
        self._advance()

    def _lose(self) -> None:
        self._is_lost = True
        if not self._is_busy:
            self._hand_over(None)

    def _pause(self) -> None:
        if self._transport is not None and not self._is_paused:
            self._transport.pause_reading()
            self._is_paused = True

    def _check_deadline(self) -> None:
        """Cut off a client that is too slow. One timer checks now and then, because setting one for
        each command costs more than the command."""
        now_s, until_s = self._loop.time(), self._deadline_s
        if not self._session.authenticated:
            until_s = min(until_s, self._login_by_s)
        if now_s < until_s:  # a deadline that is set from now on is not before the next check
            at_s = min(until_s, now_s + min(COMMAND_S, MESSAGE_S))
        elif self._is_busy:
            at_s = now_s + BUSY_CHECK_S
        else:
            self._session.close(TIMEOUT)
            self._advance()
            return
        self._timer = self._loop.call_at(at_s, self._check_deadline)

    async def _start_tls(self) -> None:
        self._session.respond("220 2.0.0 Ready to start TLS")
        self._flush()
        if self._transport is None or self._session.unread_octets:
            raise ConnectionError  # octets before the handshake are not part of the session
        self._transport = await self._loop.start_tls(
            self._transport,
            self,
            self._context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=CLOSE_S,
        )
        self._session.start_tls()
        self._set_hostname()

    def _set_hostname(self) -> None:
        """Use the name of the brand whose host the client has named."""
        if self._transport is not None:
            host = server_name(self._transport.get_extra_info("ssl_object"))
            if host and (name := self._name_of(host)):
                self._session.hostname = name

    def _flush(self) -> None:
        if (data := self._session.take_replies()) and self._transport is not None:
            self._transport.write(data)
