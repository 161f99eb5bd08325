"""One connection of a server: octets, TLS and deadlines around a session without I/O."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Generic, Protocol, TypeVar, cast

from kernel.tls import CLOSE_S, HANDSHAKE_S, server_name

BUSY_CHECK_S = 1.0  # from a deadline that passed while the server was busy to the next check
UNREAD_MAX = 64 * 1024  # octets that wait while a message is accepted

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
E_contra = TypeVar("E_contra", contravariant=True)


class Session(Protocol[E_co]):
    """The server's side of a session: see `mail.smtp_server`."""

    hostname: str
    authenticated: bool
    lines: int

    @property
    def is_closed(self) -> bool: ...
    @property
    def unread_octets(self) -> int: ...
    @property
    def expects_tls(self) -> bool: ...
    @property
    def expects_message(self) -> bool: ...
    @property
    def message_octets(self) -> int: ...
    def greet(self) -> None: ...
    def receive(self, data: bytes) -> None: ...
    def take_replies(self) -> bytes: ...
    def next_event(self) -> E_co | None: ...
    def respond(self, reply: str) -> None: ...
    def refuse_message(self, reply: str) -> None: ...
    def start_tls(self) -> None: ...
    def close(self, reply: str) -> None: ...


class Responder(Protocol[E_contra]):
    """Decides the replies to the events of one session. hostname: of the server, once it is known
    who the client is; otherwise empty."""

    @property
    def hostname(self) -> str: ...
    def respond_now(self, event: E_contra) -> str:
        """The reply to an event that needs only memory; empty if it needs `respond`."""

    async def respond(self, event: E_contra) -> str: ...
    def reserve(self, octets: int) -> str:
        """Reserve memory for the message that is arriving. The refusal if there is not enough."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Maximum times: from the connection to a login, for a command, for a message, and for the
    session as a whole."""

    login_s: float = inf
    command_s: float = 300.0  # RFC 5321 §4.5.3.2.7
    message_s: float = 600.0
    session_s: float = inf


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """context: of TLS that begins within the session; None if it cannot. name_of: the server, by
    the host that the client names in TLS. The others are replies."""

    context: ssl.SSLContext | None
    name_of: Callable[[str], str] = lambda _: ""
    deadlines: Deadlines = Deadlines()
    ready_for_tls: str = "220 2.0.0 Ready to start TLS"
    timeout: str = "421 4.4.2 The client was too slow"
    stopping: str = "421 4.3.2 The service is stopping"


class SessionConnection(asyncio.Protocol, Generic[E]):
    """Call `run` once connected.

    What needs only memory is answered as it arrives; `run` waits for the rest.
    """

    def __init__(
        self, session: Session[E], responder: Responder[E], config: ConnectionConfig
    ) -> None:
        self._session = session
        self._responder = responder
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_busy = True  # `run` works; what arrives meanwhile has to wait
        self._wake = asyncio.Event()  # there is work for `run`
        self._event: E | None = None  # that `run` responds to
        self._is_lost = self._is_stopping = self._is_paused = False
        self._is_writable = True
        self._lines = -1  # that the deadline belongs to
        self._session_by_s = self._loop.time() + config.deadlines.session_s
        self._login_by_s = self._loop.time() + config.deadlines.login_s
        self._deadline_s = self._loop.time() + config.deadlines.command_s
        self._timer: asyncio.TimerHandle | None = None

    # ── asyncio.Protocol ────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._session.receive(data)
        octets = self._session.message_octets
        if octets and (refusal := self._responder.reserve(octets)):
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
            self._responder.close()
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
            if not (reply := self._responder.respond_now(event)):
                break
            self._session.respond(reply)
        if event is None and self._is_stopping and not self._session.expects_message:
            self._session.close(self._config.stopping)
        self._flush()  # replies to a group go together (RFC 2920 §3.2)
        if event is not None or self._session.is_closed or self._is_lost:
            self._hand_over(event)
        else:
            self._await_octets()

    def _hand_over(self, event: E | None) -> None:
        """Let `run` respond to the event, or end."""
        self._is_busy, self._event = True, event
        self._wake.set()

    def _await_octets(self) -> None:
        self._responder.reserve(self._session.message_octets)
        if self._is_paused and self._is_writable and self._transport is not None:
            self._transport.resume_reading()
            self._is_paused = False
        if self._lines != self._session.lines:
            self._lines = self._session.lines
            limits = self._config.deadlines
            limit_s = limits.message_s if self._session.expects_message else limits.command_s
            self._deadline_s = self._loop.time() + limit_s

    async def _respond(self, event: E) -> None:
        if self._session.expects_tls:
            await self._start_tls()
        else:
            self._session.respond(await self._responder.respond(event))
            if name := self._responder.hostname:
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
        limits = self._config.deadlines
        now_s, until_s = self._loop.time(), min(self._deadline_s, self._session_by_s)
        if not self._session.authenticated:
            until_s = min(until_s, self._login_by_s)
        if now_s < until_s:  # a deadline that is set from now on is not before the next check
            at_s = min(until_s, now_s + min(limits.command_s, limits.message_s))
        elif self._is_busy:
            at_s = now_s + BUSY_CHECK_S
        else:
            self._session.close(self._config.timeout)
            self._advance()
            return
        self._timer = self._loop.call_at(at_s, self._check_deadline)

    async def _start_tls(self) -> None:
        self._session.respond(self._config.ready_for_tls)
        self._flush()
        context = self._config.context
        if context is None or self._transport is None or self._session.unread_octets:
            raise ConnectionError  # octets before the handshake are not part of the session
        self._transport = await self._loop.start_tls(
            self._transport,
            self,
            context,
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
            if host and (name := self._config.name_of(host)):
                self._session.hostname = name

    def _flush(self) -> None:
        data, transport = self._session.take_replies(), self._transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)
