"""A SOCKS 5 server on loopback, and the destinations behind it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

from kernel.socks5 import messages
from kernel.socks5.client import Socks5Login
from kernel.socks5.server import Socks5Config, Socks5Server
from kernel.tls import CertificateFiles, Certificates

TOKEN, OTHER_TOKEN = "0123456789abcdef", "an older token of 1"
SOURCE = "127.0.0.9"
SYN_SENT = 2  # of tcp_info

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def socks5_server(
    *,
    files: CertificateFiles | None = None,
    listen: str = "127.0.0.1:0",
    **config: Any,  # noqa: ANN401 - of Socks5Config
) -> AsyncIterator[Socks5Server]:
    """Every destination is allowed, unless the config refuses it."""
    given = {"tokens": (TOKEN, OTHER_TOKEN), "refusal_of": lambda *_: "", **config}
    tls = Certificates(files).context() if files else None
    server = Socks5Server(listen, Socks5Config(**given), tls=tls)
    running = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await server.drain(0.0)


@asynccontextmanager
async def destination(talk: Talk, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A server that talks so with each client; yields its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await talk(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def trusting(files: CertificateFiles) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files.certificate))


def login(port: int, **changed: Any) -> Socks5Login:  # noqa: ANN401 - fields of Socks5Login
    fields = {"host": "127.0.0.1", "source": SOURCE, "token": TOKEN, "tls": None, **changed}
    return Socks5Login(port=port, **fields)


def conversation(port: int) -> bytes:
    """All that a client sends before its data."""
    return (
        messages.GREETING
        + messages.credentials(SOURCE, TOKEN)
        + messages.connect_request("127.0.0.1", port)
    )


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A listener that accepts no more connections; yields its port."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        state = 0
        while state != SYN_SENT:
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
            await asyncio.sleep(0.05)
            state = waiting.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO)
        yield int(listener.getsockname()[1])
