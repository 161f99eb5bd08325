"""One HTTP/1.1 connection to a server, one request at a time (RFC 9112)."""

import asyncio
from dataclasses import dataclass
from typing import cast

import httptools

from kernel import clock

BODY_BYTES_MAX = 64 * 1024
HEADER_BYTES_MAX = 64 * 1024
BODY_TIMEOUT_S = 2.0
IDLE_TIMEOUT_S = 15.0
BODY_SAVED_BYTES_MAX = 1000


class Disconnected(OSError):
    """The connection ended before the response."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """body: the beginning of it."""

    status: int
    retry_after: str
    body: bytes


class HttpConnection(asyncio.Protocol):
    """response_started: whether part of the response has arrived.

    Only the status matters. The body is read up to BODY_BYTES_MAX and for at most BODY_TIMEOUT_S; a
    connection with an unread rest is not reused.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._response: asyncio.Future[HttpResponse] | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._keep_alive = True
        self._sent_at_s = 0.0
        self._status, self._retry_after = 0, ""
        self._body, self._body_bytes, self._header_bytes = b"", 0, 0
        self.response_started = False

    @property
    def is_reusable(self) -> bool:
        open_ = self._transport is not None and not self._transport.is_closing()
        return open_ and self._keep_alive and clock.monotonic_s() - self._sent_at_s < IDLE_TIMEOUT_S

    async def send(self, request: bytes) -> HttpResponse:
        """Raises Disconnected, or ValueError when the response is not HTTP."""
        if self._transport is None or self._transport.is_closing():
            raise Disconnected("the connection was closed")
        self._parser = httptools.HttpResponseParser(self)
        self._status, self._retry_after = 0, ""
        self._body, self._body_bytes, self._header_bytes = b"", 0, 0
        self.response_started, self._keep_alive, self._sent_at_s = False, False, clock.monotonic_s()
        self._response = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._response
        finally:
            self._response = None
            if self._body_timer is not None:
                self._body_timer.cancel()
                self._body_timer = None

    def close(self) -> None:
        self._keep_alive = False
        if self._transport is not None:
            self._transport.abort()

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._response is None or self._response.done():
            self.close()  # no response is expected, or enough of it was read
            return
        self.response_started = True
        if not self._status:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ValueError(f"the response is not HTTP: {error}"))
        if self._header_bytes > HEADER_BYTES_MAX:
            self._fail(ValueError("the response's header is too long"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._status:
            self._done()
        else:
            self._fail(Disconnected("the connection was closed"))

    # ── httptools' callbacks ──

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")[:64]

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # interim responses are ignored (RFC 9110 §15.2)
            self._status = status
            loop = asyncio.get_running_loop()
            self._body_timer = loop.call_later(BODY_TIMEOUT_S, self._done)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if len(self._body) < BODY_SAVED_BYTES_MAX:
            self._body += body[:BODY_SAVED_BYTES_MAX]
        if self._body_bytes > BODY_BYTES_MAX:
            self._done()

    def on_message_complete(self) -> None:
        if self._status:
            self._keep_alive = self._parser.should_keep_alive()
            self._done()

    # ──

    def _done(self) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_result(HttpResponse(self._status, self._retry_after, self._body))

    def _fail(self, error: Exception) -> None:
        self._keep_alive = False
        if self._response is not None and not self._response.done():
            self._response.set_exception(error)
