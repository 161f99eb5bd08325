"""Download files from addresses that a policy allows, bounded in size (RFC 9110, RFC 9112)."""

import asyncio
from dataclasses import dataclass
from typing import cast

import httptools

from kernel.addresses import AddressResolver
from kernel.dial import Dialer, UrlTarget, parse_url_target

HEAD_OCTETS_MAX = 64 * 1024
REQUEST_HEADERS = "Accept: */*\r\nAccept-Encoding: identity\r\n"
RESPONSE_HEADERS = {b"content-type", b"content-disposition", b"content-encoding", b"content-length"}
RESPONSE_HEADERS |= {b"transfer-encoding"}


class DownloadFailed(Exception):
    """The download failed; the message tells why."""


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """content_type, disposition: from the response headers; empty if absent."""

    content: bytes
    content_type: str
    disposition: str


class Downloader:
    """Must be created inside the running loop. Every file has its own connection."""

    def __init__(self, addresses: AddressResolver) -> None:
        self._dialer = Dialer(addresses)

    async def get(self, url: str, *, octets_max: int, user_agent: str) -> DownloadedFile:
        """The caller bounds the time. Raises DownloadFailed."""
        try:
            target = parse_url_target(url)
            download = await self._dialer.connect(target, lambda: Download(octets_max))
        except (OSError, ValueError) as error:
            raise DownloadFailed(f"The server cannot be reached: {error}.") from error
        return await download.file(target, f"User-Agent: {user_agent}\r\n{REQUEST_HEADERS}")

    async def close(self) -> None:
        await self._dialer.close()


class Download(asyncio.Protocol):
    """One request and its response, aborted as soon as the response is unusable."""

    def __init__(self, octets_max: int) -> None:
        self._octets_max = octets_max
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[DownloadedFile] = asyncio.get_running_loop().create_future()
        self._headers: dict[bytes, str] = {}
        self._head_octets, self._body_started = 0, False
        self._pieces: list[bytes] = []
        self._octets = 0

    async def file(self, target: UrlTarget, headers: str) -> DownloadedFile:
        """Raises DownloadFailed."""
        if self._transport is None:
            raise DownloadFailed("The connection was closed.")
        request = f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n{headers}"
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
        self._head_octets += 0 if self._body_started else len(data)
        if self._head_octets > HEAD_OCTETS_MAX + self._octets_max:
            self._fail("The header of the response is too long.")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("The response is not HTTP.")
        if not self._body_started and self._head_octets > HEAD_OCTETS_MAX:
            self._fail("The header of the response is too long.")

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of the connection is the end of a body without a declared length."""
        if self._body_started and not self._headers.keys() & {
            b"content-length",
            b"transfer-encoding",
        }:
            self.on_message_complete()
        self._fail("The connection was closed before the end of the file.")

    # ── httptools' callbacks ──

    def on_header(self, name: bytes, value: bytes) -> None:
        if (name := name.lower()) in RESPONSE_HEADERS:
            self._headers[name] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim response (RFC 9110 §15.2)
            self._headers.clear()
        elif problem := self._problem(status):
            self._fail(problem)
        else:
            self._body_started = True

    def _problem(self, status: int) -> str:
        if status != 200:
            redirect = " Redirects are not followed." if 300 <= status < 400 else ""
            return f"The server returned {status}.{redirect}"
        coding = self._headers.get(b"content-encoding", "identity").strip().lower()
        transfer = self._headers.get(b"transfer-encoding", "chunked").strip().lower()
        if (coding or "identity", transfer) != ("identity", "chunked"):
            return "The response is compressed, although compression was not requested."
        length = self._headers.get(b"content-length", "")
        return self._too_large() if length.isdigit() and int(length) > self._octets_max else ""

    def _too_large(self) -> str:
        return f"The file is larger than the {self._octets_max} octets left in the request."

    def on_body(self, body: bytes) -> None:
        self._octets += len(body)
        if self._octets > self._octets_max:
            self._pieces.clear()
            self._fail(self._too_large())
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._body_started and not self._done.done():
            types = [
                self._headers.get(name, "") for name in (b"content-type", b"content-disposition")
            ]
            self._done.set_result(DownloadedFile(b"".join(self._pieces), *types))

    # ──

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(DownloadFailed(why))
            self._done.exception()  # prevents a warning if the caller has gone
        if self._transport is not None:
            self._transport.abort()
