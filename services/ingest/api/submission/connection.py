"""One SMTP connection: octets, TLS and deadlines around the session."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import cast

from kernel.tls import HANDSHAKE_S, server_name
from mail.smtp_server import ServerSession
from mail.smtp_server_events import RecipientGiven, SenderGiven, ServerConfig, StartTls
from services.ingest.api.submission.submitter import Submitter

LOGIN_S = 120.0  # from the connection to a login
COMMAND_S = 300.0  # for each command (RFC 5321 §4.5.3.2.7)
MESSAGE_S = 600.0  # for each message
UNREAD_MAX = 64 * 1024  # octets that wait while a message is accepted
TIMEOUT = "421 4.4.2 The client was too slow"
STOPPING = "421 4.3.2 The service is stopping"
_QUICK = (SenderGiven, RecipientGiven)  # answered from memory


class Connection(asyncio.Protocol):
    """Call `run` once connected. names: of the server, by host that the client names in TLS.
    secure: TLS is on."""

    def __init__(
        self,
        submitter: Submitter,
        config: ServerConfig,
        *,
        context: ssl.SSLContext,
        names: Mapping[str, str],
        secure: bool,
    ) -> None:
        self._submitter = submitter
        self._session = ServerSession(config, secure=secure)
        self._context = context
        self._names = names
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()  # octets have arrived, or the connection ends
        self._is_busy = self._is_paused = self._is_stopping = self._is_lost = False
        self._writable = asyncio.Event()
        self._writable.set()

    # ── asyncio.Protocol ────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._session.receive(data)
        octets = self._session.message_octets
        if octets and (refusal := self._submitter.reserve(octets)):
            self._session.refuse_message(refusal)
        if self._is_busy and self._session.unread_octets > UNREAD_MAX and self._transport:
            self._transport.pause_reading()
            self._is_paused = True
        self._changed.set()

    def eof_received(self) -> None:
        self._is_lost = True
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._writable.set()
        self._changed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ── the session ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until the client or the session closes the connection."""
        try:
            self._set_hostname()
            self._session.greet()
            await self._serve()
        except TimeoutError:
            self._session.close(TIMEOUT)
            self._flush()
        except OSError:  # of the connection, or of TLS
            pass
        finally:
            self._submitter.close()
            if self._transport is not None:
                self._transport.close()

    def stop(self) -> None:
        """Close the session after the current message."""
        self._is_stopping = True
        self._changed.set()

    async def _serve(self) -> None:
        login_by_s = self._loop.time() + LOGIN_S
        lines, deadline_s = -1, 0.0
        while True:
            self._changed.clear()
            event = self._session.next_event()
            if not isinstance(event, _QUICK):  # replies to a group go together (RFC 2920 §3.2)
                self._flush()
            if self._session.is_closed or (event is None and self._is_lost):
                return
            if lines != self._session.lines:
                lines = self._session.lines
                limit_s = MESSAGE_S if self._session.expects_message else COMMAND_S
                deadline_s = self._loop.time() + limit_s
            until_s = deadline_s if self._session.authenticated else min(deadline_s, login_by_s)
            if event is None:
                await self._wait(until_s)
            elif isinstance(event, StartTls):
                await self._start_tls()
            else:
                self._is_busy = True
                self._session.respond(await self._submitter.respond(event))
                self._is_busy = False

    async def _wait(self, until_s: float) -> None:
        """Wait for more octets. Raises TimeoutError."""
        if self._is_stopping and not self._session.expects_message:
            self._session.close(STOPPING)
            return
        self._submitter.reserve(self._session.message_octets)
        async with asyncio.timeout_at(until_s):
            await self._writable.wait()
            if self._is_paused and self._transport is not None:
                self._transport.resume_reading()
                self._is_paused = False
            await self._changed.wait()

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
        )
        self._session.start_tls()
        self._set_hostname()

    def _set_hostname(self) -> None:
        """Use the name of the brand whose host the client has named."""
        if self._transport is not None:
            host = server_name(self._transport.get_extra_info("ssl_object"))
            if (name := self._names.get(host)) is not None:
                self._session.hostname = name

    def _flush(self) -> None:
        if (data := self._session.take_replies()) and self._transport is not None:
            self._transport.write(data)
