"""Links in mail as delivery signs them, and a client that follows them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from kernel.crypto import derived_key
from mail import tracking, unsubscribe
from mail.tracking import Click, PixelOpen, TrackingMode
from mail.unsubscribe import Subscription
from tests.support.keys import SECRET_KEY
from tests.support.message_events import MessageEvents

SIGNING_KEY = derived_key(SECRET_KEY, "tracking")
IDENTIFIED = TrackingMode.IDENTIFIED
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"
HOST = "t.example"
FORM_TYPE = "application/x-www-form-urlencoded"
ONE_CLICK = b"List-Unsubscribe=One-Click"


class LinkResponse(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def click_path(message: MessageEvents, url: str, mode: TrackingMode = IDENTIFIED) -> str:
    click = Click(UUID(message.tenant_id), UUID(message.message_id), url, mode)
    return f"/c/{tracking.click_token(click, SIGNING_KEY)}"


def open_path(message: MessageEvents, mode: TrackingMode = IDENTIFIED) -> str:
    opened = PixelOpen(UUID(message.tenant_id), UUID(message.message_id), mode)
    return f"/o/{tracking.open_token(opened, SIGNING_KEY)}.gif"


def unsubscribe_path(message: MessageEvents, list_name: str = "") -> str:
    leaves = Subscription(
        UUID(message.tenant_id), UUID(message.message_id), list_name, "ann@example.net"
    )
    return f"/u/{unsubscribe.sign(leaves, SIGNING_KEY)}"


class LinkClient:
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, host: str = HOST
    ) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer

    async def request(
        self, path: str, method: str = "GET", *, body: bytes = b"", agent: str = SAFARI
    ) -> LinkResponse:
        """Raises OSError or IncompleteReadError if the server ends."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: {agent}\r\n"
            f"Content-Type: {FORM_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines[1:])
        length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        body = await self._reader.readexactly(length)
        return LinkResponse(int(lines[0].split()[1]), headers, body)

    async def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def link_client(port: int, *, host: str = HOST) -> AsyncIterator[LinkClient]:
    """Waits for the listener."""
    while True:
        try:
            client = LinkClient(*await asyncio.open_connection("127.0.0.1", port), host=host)
            break
        except OSError:
            await asyncio.sleep(0.05)
    try:
        yield client
    finally:
        await client.close()
