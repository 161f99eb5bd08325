"""`POST /v1/emails` over persistent connections: minimal HTTP/1.1 (RFC 9112)."""

import asyncio
from collections.abc import Sequence
from typing import cast

from bench.load.driver import Connection, Driver
from bench.messages import Variant

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class HttpConnection(asyncio.Protocol, Connection):
    def __init__(self, driver: Driver, variants: Sequence[Variant], head: bytes) -> None:
        self.driver = driver
        self.variants = variants
        self.head = head
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.driver.join(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.driver.lost(self)

    def send(self, serial: int) -> None:
        body = self.variants[serial % len(self.variants)].json(serial)
        self.transport.write(self.head % len(body) + body)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = response_end(self.buffer)
        if end:
            status = int(self.buffer[9:12])
            self.buffer = self.buffer[end:]
            self.driver.done(self, "accepted" if status == 202 else f"status {status}")


def head(host: str, path: str, key: str) -> bytes:
    """The request header, with %d for the length of the body."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        "Content-Length: %d",
    ]
    return "\r\n".join(lines).encode() + HEAD_END


def response_end(buffer: bytes) -> int:
    """The end of the response at the start of `buffer`; 0 if it is incomplete."""
    at = buffer.find(HEAD_END)
    if at < 0:
        return 0
    fields = buffer[:at].lower()
    start = fields.find(b"\r\ncontent-length:")
    if start >= 0:
        length = int(fields[start + 17 :].partition(b"\r\n")[0])
        end = at + len(HEAD_END) + length
        return end if len(buffer) >= end else 0
    if b"\r\ntransfer-encoding: chunked" in fields:
        return len(buffer) if buffer.endswith(LAST_CHUNK) else 0
    return at + len(HEAD_END)
