"""The listener of links in mail, without a network."""

import asyncio
import re
from typing import Any, cast
from uuid import UUID

import uvicorn
from uvicorn.server import ServerState

from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel.brand import Brands
from kernel.http_server import HttpProtocol
from mail import tracking, unsubscribe
from mail.bot_hits import default_rules
from mail.tracking import Click, PixelOpen
from mail.unsubscribe import Subscription
from services.events.api.tracking.app import TrackingApp
from services.events.api.tracking.hosts import LinkHostRegistry
from services.events.api.tracking.recorder import HitRecorder
from services.events.clients.tracking_hosts import DomainTrackingHosts
from services.events.domain.hit import ClientAnonymizer, RecordedHit
from tests.support.fake_transport import FakeTransport

OLD, KEY = b"o" * 32, b"k" * 32
TENANT, MESSAGE = UUID(int=1), UUID("01a21f53-9e27-7000-9aa0-821cb95b7018")
URL = "https://shop.example/a?b=1&c=(2)|3,'4'!@#d"
CLICK = tracking.click_token(Click(TENANT, MESSAGE, URL), KEY)
OPEN = tracking.open_token(PixelOpen(TENANT, MESSAGE), KEY)
LEAVE = unsubscribe.sign(Subscription(TENANT, MESSAGE, "offers & more", "ann@example.net"), KEY)
URLENCODED = b"application/x-www-form-urlencoded"


class MemoryRecorder:
    """Keeps hits; full: it cannot."""

    def __init__(self, *, full: bool = False) -> None:
        self.hits: list[RecordedHit] = []
        self.full = full

    async def record(self, hit: RecordedHit) -> bool:
        if not self.full:
            self.hits.append(hit)
        return not self.full


class Listener:
    """The app behind the HTTP protocol. Each call of `exchange` is a connection."""

    def __init__(
        self, recorder: MemoryRecorder | HitRecorder | None = None, brands: Brands | None = None
    ) -> None:
        self.recorder = recorder or MemoryRecorder()
        self.own_hosts = DomainTrackingHosts(None)
        hosts = LinkHostRegistry(brands or Brands(), self.own_hosts.target_of, lambda: True)
        reducer = ClientAnonymizer(b"s" * 32, default_rules())
        self.app = TrackingApp([KEY, OLD], cast(Any, self.recorder), reducer, hosts=hosts)
        self.config = uvicorn.Config(
            cast(Any, self.app), http=HttpProtocol, ws="none", lifespan="off", log_config=None,
            server_header=False,
        )  # fmt: skip
        self.config.load()

    def put_host(self, host: str, target: str) -> None:
        """A host of a domain, as its record has it."""
        record = TrackingHost(tracking_host_id=host, version=1, host=host, target=target)
        self.own_hosts.table.put(record)

    @property
    def hits(self) -> list[RecordedHit]:
        return cast(MemoryRecorder, self.recorder).hits

    async def exchange(self, *pieces: bytes) -> bytes:
        transport = FakeTransport()
        protocol = HttpProtocol(self.config, ServerState(), {})
        protocol.connection_made(transport)
        for piece in pieces:
            if not transport.closed:
                protocol.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        await asyncio.gather(*protocol.tasks)
        return b"".join(transport.writes)


def request(
    path: str, method: str = "GET", *, body: bytes = b"", kind: bytes = b"", host: str = "t.example"
) -> bytes:
    typed = b"Content-Type: %b\r\n" % kind if kind else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/5.0 (iPhone)\r\n"
    return head.encode() + typed + b"Content-Length: %d\r\n\r\n" % len(body) + body


def header(response: bytes, name: str) -> str:
    head = response.partition(b"\r\n\r\n")[0].decode()
    found = re.search(rf"^{name}: (.*)$", head, re.IGNORECASE | re.MULTILINE)
    return found[1].rstrip("\r") if found else ""
