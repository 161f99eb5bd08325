"""HTTP/1.1 for strangers: uvicorn inside the service's event loop, with limits; the kernel handles
signals."""

import asyncio
import logging
import socket
import ssl
import weakref
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from kernel.listener import Listener, bind, raise_open_files_limit, set_socket_options
from kernel.tls import CLOSE_S, HANDSHAKE_S

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HEAD_BYTES_MAX = 64 * 1024  # request line and header, or the trailer of a chunked body
URL_BYTES_MAX = 8 * 1024
HEADERS_MAX = 100
UNREAD_BYTES_MAX = 1024 * 1024  # of a body that arrives after its response
HEAD_S = 20.0  # timeout for request line and header, from the connection or the first octet
REQUEST_S = 300.0  # timeout for a whole request
# The service logs its own start and end, and what strangers send that is no HTTP is worth no line.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
RESPONSE_EXTENSION = "obm.response"  # the ASGI extension that sends a response in one write


class Refusal(NamedTuple):
    """The body of a refused request. Its status is 400, 408, 414, 431, 501 or 503."""

    content_type: bytes = b"text/plain"
    body: bytes = b""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits, and with an extension that sends a response in one write:
    ASGI's two messages cost two system calls and wake the client twice.

    Octets outside of bodies are counted as they arrive, because the parser buffers a field until it
    is complete."""

    connections_max = 2_000
    refusal: Callable[[int], Refusal] = staticmethod(lambda _: Refusal())
    url = b"/"  # before the first request, which empty lines may precede
    _status = 400  # status of the refusal when the parser stops
    _head_bytes = 0  # octets since the parser last completed a header or read body data
    _unread = 0
    _head_done = False
    _began_s: float | None = None  # start of an incomplete request
    _deadline_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self.connections) >= self.connections_max:
            self.transport = cast(asyncio.Transport, transport)
            self._refuse(503)
            return
        super().connection_made(cast(asyncio.Transport, transport))
        if (sock := transport.get_extra_info("socket")) is not None:
            set_socket_options(sock)
        self._began_s = self.loop.time()
        self._deadline_timer = self.loop.call_later(HEAD_S, self._check_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """The transport closes itself and reports that in the next iteration of the loop."""
        self._disconnect()

    def _disconnect(self) -> None:
        """Stop writing: a closed transport raises."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _check_deadline(self) -> None:
        limit_s = REQUEST_S if self._head_done else HEAD_S
        if self._began_s is not None and self.loop.time() - self._began_s >= limit_s:
            self._refuse(408)
        else:
            self._deadline_timer = self.loop.call_later(HEAD_S, self._check_deadline)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        if self._began_s is None:
            self._began_s = self.loop.time()
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(431 if self.url else 414)

    def on_message_begin(self) -> None:
        self._head_done = False
        self._unread = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > URL_BYTES_MAX:
            self._stop(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS_MAX:
            self._stop(431)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if sum([len(name) + len(value) for name, value in self.headers]) > HEAD_BYTES_MAX:
            self._stop(431)
        self._check_head()
        self._head_done, self._head_bytes = True, 0
        super().on_headers_complete()

    def _check_head(self) -> None:
        """Require one Host (RFC 9112 §3.2) and a body of known length (§6.1)."""
        names = [name for name, _ in self.headers]
        current = self.parser.get_http_version() == "1.1"
        if (hosts := names.count(b"host")) > 1 or (current and not hosts):
            self._stop(400)
        if b"transfer-encoding" in names:
            if not current:
                self._stop(400)
            codings = [value for name, value in self.headers if name == b"transfer-encoding"]
            if b",".join(codings).strip().lower() != b"chunked":
                self._stop(501)

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if self.cycle.response_complete:
            self._unread += len(body)
            if self._unread > UNREAD_BYTES_MAX:
                self._stop(400)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes, self._began_s = 0, None
        super().on_message_complete()

    def _stop(self, status: int) -> None:
        self._status = status
        raise ValueError(status)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._status)

    def _refuse(self, status: int) -> None:
        """Refuse with a response, unless the response of this request may have started; then only
        abort."""
        if self._head_done:
            self._disconnect()
            self.transport.abort()
            return
        refusal = self.refusal(status)
        head = b"content-type: %b\r\nconnection: close\r\ncontent-length: %d\r\n"
        retry_after = b"retry-after: 2\r\n" if status == 503 else b""
        fields = head % (refusal.content_type, len(refusal.body))
        self.transport.write(
            b"".join((STATUS_LINE[status], fields, retry_after, b"\r\n", refusal.body))
        )
        self.transport.close()

    def _start_asgi_task(
        self,
        cycle: RequestResponseCycle,
        app: Any,  # noqa: ANN401 - uvicorn's
    ) -> None:
        # Weakly: the cycle has the scope, and would wait with it for the garbage collector.
        respond = partial(_send_response, weakref.ref(cycle))
        cast(Any, cycle.scope)["extensions"] = {RESPONSE_EXTENSION: respond}
        super()._start_asgi_task(cycle, app)


def _send_response(
    reference: "weakref.ref[RequestResponseCycle]",
    status: int,
    body: bytes,
    *,
    headers: Sequence[tuple[bytes, bytes]],
) -> bool:
    """Do what the cycle's `send` does with headers and body. False if it would have to wait, or is
    too late. headers: trusted, they are not validated again."""
    cycle = reference()
    if cycle is None or cycle.disconnected or cycle.flow.write_paused:
        return False
    cycle.response_started = cycle.response_complete = True
    lines = [b"%b: %b\r\n" % field for field in [*cycle.default_headers, *headers]]
    length = b"content-length: %d\r\n" % len(body)
    closing = b"" if cycle.keep_alive else b"connection: close\r\n"
    cycle.transport.write(b"".join([STATUS_LINE[status], *lines, length, closing, b"\r\n", body]))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """listen: host:port; port 0 picks a free port, see `port`. refusal: what a request gets that is
    refused before the app has it, by status. tls: without it the listener is plain."""

    def __init__(
        self,
        app: App,
        listen: str,
        *,
        refusal: Callable[[int], Refusal],
        trusted_proxies: str = "",
        connections_max: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        raise_open_files_limit()
        limited = {"connections_max": connections_max, "refusal": staticmethod(refusal)}
        self._config = uvicorn.Config(
            cast(Any, app),
            http=type("Limited", (HttpProtocol,), limited),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=trusted_proxies or None,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
        self._config.load()
        self._server = _Server(self._config)
        self._connections_max = connections_max
        self._tls = tls
        self._listener = (
            Listener(listen, self._begin_tls, tasks_max=connections_max) if tls else None
        )
        self._sockets = [] if self._listener else [bind(listen)]
        self.port = (
            self._listener.port if self._listener else int(self._sockets[0].getsockname()[1])
        )

    async def run(self) -> None:
        """A loop: serve until cancelled, then finish the open requests."""
        serving = asyncio.create_task(self._server.serve(sockets=self._sockets))
        try:
            if self._listener is not None:
                await self._listener.run()
            await asyncio.shield(serving)
        finally:
            if self._listener is not None:
                await self._listener.stop()
            self._server.should_exit = True
            await serving

    async def _begin_tls(self, sock: socket.socket, _: str) -> None:
        """uvicorn counts a connection only after its handshake."""
        if len(self._server.server_state.connections) >= self._connections_max:
            sock.close()
            return
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._new_protocol,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=CLOSE_S,
            )
        except OSError:  # the client is gone, too slow, or does not speak TLS
            sock.close()

    def _new_protocol(self) -> asyncio.Protocol:
        new = cast(type[HttpProtocol], self._config.http_protocol_class)
        return new(self._config, self._server.server_state, app_state={})
