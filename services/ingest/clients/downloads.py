"""Files that strangers keep: fetched from public addresses, bounded in octets (RFC 9110, 9112)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import httptools

from kernel.addresses import Addresses
from kernel.dial import Dialer, Target, target_of
from mail.reachable import Network, may_call

HEAD_OCTETS_MAX = 64 * 1024
ASKED = "User-Agent: OBM-Attachments/1\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
TOLD = {b"content-type", b"content-disposition", b"content-encoding", b"content-length"}
TOLD |= {b"transfer-encoding"}


class Failed(Exception):
    """There is no file; the message says why, in words for who asked for it."""


@dataclass(frozen=True, slots=True)
class File:
    """content_type, disposition: as the server says; empty where it says nothing."""

    content: bytes
    content_type: str
    disposition: str


class Downloads:
    """Build it inside the running loop. A connection for each file, and nothing is kept."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        permitted = tuple(allowed)
        self._dialer = Dialer(
            Addresses(lambda address, plain: may_call(address, permitted, plain=plain))
        )

    async def get(self, url: str, *, octets_max: int) -> File:
        """Whoever calls bounds the time. Raises Failed."""
        try:
            target = target_of(url)
            download = await self._dialer.connect(target, lambda: Download(octets_max))
        except (OSError, ValueError) as error:
            raise Failed(f"it cannot be reached: {error}") from error
        return await download.file(target)

    async def close(self) -> None:
        await self._dialer.close()


class Download(asyncio.Protocol):
    """One request and its answer, given up as soon as it is known to be of no use."""

    def __init__(self, octets_max: int) -> None:
        self._octets_max = octets_max
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[File] = asyncio.get_running_loop().create_future()
        self._told: dict[bytes, str] = {}
        self._head_octets, self._began = 0, False
        self._pieces: list[bytes] = []
        self._octets = 0

    async def file(self, target: Target) -> File:
        """Raises Failed."""
        if self._transport is None:
            raise Failed("the connection was closed")
        request = f"GET {target.path} HTTP/1.1\r\nHost: {target.named}\r\n{ASKED}"
        self._transport.write(f"{request}Connection: close\r\n\r\n".encode())
        try:
            return await self._done
        finally:
            self._transport.abort()

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._done.done():
            return
        self._head_octets += 0 if self._began else len(data)
        if self._head_octets > HEAD_OCTETS_MAX + self._octets_max:
            self._fail("the header of its answer is too long")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("its answer is not HTTP")
        if not self._began and self._head_octets > HEAD_OCTETS_MAX:
            self._fail("the header of its answer is too long")

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a body of which nothing says how long it is."""
        if self._began and not self._told.keys() & {b"content-length", b"transfer-encoding"}:
            self.on_message_complete()
        self._fail("the connection was closed before all of it had come")

    # ── httptools' callbacks ──

    def on_header(self, name: bytes, value: bytes) -> None:
        if (name := name.lower()) in TOLD:
            self._told[name] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # another answer follows (RFC 9110 §15.2)
            self._told.clear()
        elif problem := self._problem(status):
            self._fail(problem)
        else:
            self._began = True

    def _problem(self, status: int) -> str:
        if status != 200:
            followed = ": redirects are not followed" if 300 <= status < 400 else ""
            return f"it answers {status}{followed}"
        coding = self._told.get(b"content-encoding", "identity").strip().lower()
        transfer = self._told.get(b"transfer-encoding", "chunked").strip().lower()
        if (coding or "identity", transfer) != ("identity", "chunked"):
            return "it is compressed, although that was not asked for"
        length = self._told.get(b"content-length", "")
        return self._too_large() if length.isdigit() and int(length) > self._octets_max else ""

    def _too_large(self) -> str:
        return f"it is larger than the {self._octets_max} octets that the request leaves room for"

    def on_body(self, body: bytes) -> None:
        self._octets += len(body)
        if self._octets > self._octets_max:
            self._pieces.clear()
            self._fail(self._too_large())
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._began and not self._done.done():
            told = [self._told.get(name, "") for name in (b"content-type", b"content-disposition")]
            self._done.set_result(File(b"".join(self._pieces), *told))

    # ──

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(Failed(why))
            self._done.exception()  # whoever gave up does not ask
        if self._transport is not None:
            self._transport.abort()
