"""One HTTP/1.1 connection to an endpoint, one request at a time (RFC 9112)."""

import asyncio
from dataclasses import dataclass
from typing import cast

import httptools

from kernel import clock

BODY_BYTES_MAX = 64 * 1024
HEADER_BYTES_MAX = 64 * 1024
BODY_WITHIN_S = 2.0
KEPT_S = 15.0
SAID_MAX = 500


class Disconnected(OSError):
    """The connection ended before its answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """body: its beginning."""

    status: int
    retry_after: str
    body: bytes


class Connection(asyncio.Protocol):
    """answering: something of an answer has come.

    The status is the answer. Of the body no more is read than a bound, nor for longer than a
    moment; a connection with the rest of it is not used again.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._hurry: asyncio.TimerHandle | None = None
        self._keep = True
        self._asked_at_s = 0.0
        self._status, self._retry_after = 0, ""
        self._said, self._body_bytes, self._header_bytes = b"", 0, 0
        self.answering = False

    @property
    def reusable(self) -> bool:
        open_ = self._transport is not None and not self._transport.is_closing()
        return open_ and self._keep and clock.monotonic_s() - self._asked_at_s < KEPT_S

    async def ask(self, request: bytes) -> Reply:
        """Raises Disconnected, or ValueError when the answer is not HTTP."""
        if self._transport is None or self._transport.is_closing():
            raise Disconnected("the connection was closed")
        self._parser = httptools.HttpResponseParser(self)
        self._status, self._retry_after = 0, ""
        self._said, self._body_bytes, self._header_bytes = b"", 0, 0
        self.answering, self._keep, self._asked_at_s = False, False, clock.monotonic_s()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None
            if self._hurry is not None:
                self._hurry.cancel()
                self._hurry = None

    def close(self) -> None:
        self._keep = False
        if self._transport is not None:
            self._transport.abort()

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked, or enough was said
            return
        self.answering = True
        if not self._status:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ValueError(f"the answer is not HTTP: {error}"))
        if self._header_bytes > HEADER_BYTES_MAX:
            self._fail(ValueError("the answer's header is too long"))

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
        if status >= 200:  # before it, others may come that mean nothing (RFC 9110 §15.2)
            self._status = status
            loop = asyncio.get_running_loop()
            self._hurry = loop.call_later(BODY_WITHIN_S, self._done)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if len(self._said) < SAID_MAX:
            self._said += body[:SAID_MAX]
        if self._body_bytes > BODY_BYTES_MAX:
            self._done()

    def on_message_complete(self) -> None:
        if self._status:
            self._keep = self._parser.should_keep_alive()
            self._done()

    # ──

    def _done(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(self._status, self._retry_after, self._said))

    def _fail(self, error: Exception) -> None:
        self._keep = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
