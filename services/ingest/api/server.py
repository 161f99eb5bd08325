"""uvicorn inside the service's loop; signals stay the kernel's."""

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from kernel.errors import BadSetting
from services.ingest.api.door import App
from services.ingest.api.http import WHOLE


class Protocol(HttpToolsProtocol):
    """Offers to answer in one piece: ASGI's two are two system calls, and wake the client twice."""

    def _start_asgi_task(
        self,
        cycle: RequestResponseCycle,
        app: Any,  # noqa: ANN401 - uvicorn's
    ) -> None:
        cast(Any, cycle.scope)["extensions"] = {WHOLE: partial(_answer, cycle)}
        super()._start_asgi_task(cycle, app)


def _answer(
    cycle: RequestResponseCycle, status: int, body: bytes, *, headers: Sequence[tuple[bytes, bytes]]
) -> bool:
    """What the cycle's `send` does with head and body; False when it has to wait, or is too late.

    headers: our own words, not looked at again.
    """
    if cycle.disconnected or cycle.flow.write_paused:
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
    """listen: host:port; port 0 takes any that is free, see `port`."""

    def __init__(self, app: App, listen: str, *, trusted_proxies: str = "") -> None:
        self._server = _Server(
            uvicorn.Config(
                cast(Any, app),
                http=Protocol,
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
        )
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # starts and ends are ours
        self._socket = bind(listen)
        self.port: int = self._socket.getsockname()[1]

    async def run(self) -> None:
        """A loop: serve until cancelled, then let what is open end."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        try:
            await asyncio.shield(serving)
        finally:
            self._server.should_exit = True
            await serving


def bind(listen: str) -> socket.socket:
    """Raises BadSetting when the port is taken."""
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host.strip("[]"), int(port)))
    except (OSError, ValueError) as error:
        bound.close()
        raise BadSetting(f"cannot listen on {listen}: {error}") from error
    return bound
