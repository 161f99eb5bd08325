"""A scripted webhook endpoint that records the requests it receives."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Behavior = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Receiver:
    """behaviors: by path; any other path returns 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.behaviors: dict[str, Behavior] = {}
        self.url = ""

    def at(self, path: str) -> list[Received]:
        return [one for one in self.received if one.path == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, await request.read()))
        if behave := self.behaviors.get(request.path):
            return await behave(request)
        return web.Response()


def respond_with(*statuses: int, headers: dict[str, str] | None = None) -> Behavior:
    """Return these statuses one after the other; the last one for all later requests."""
    left = list(statuses)

    async def respond(_: web.Request) -> web.StreamResponse:
        status = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=status, headers=headers)

    return respond


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    [(host, port, *_)] = runner.addresses
    receiver.url = f"http{'s' if tls else ''}://{host}:{port}"
    try:
        yield receiver
    finally:
        await runner.cleanup()
