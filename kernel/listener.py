"""Accepts connections for servers that bound them before TLS begins."""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable, Coroutine
from typing import TypeAlias

from kernel.errors import ConfigError
from kernel.settings import split_address

BACKLOG = 256
PAUSE_S = 0.1  # after an error of accept, such as too many open files
UNACKNOWLEDGED_MS = 60_000  # timeout for a client that does not read its response
FILES_MAX = 65_536  # each connection is an open file, and shells start with a limit of 1,024

Serve: TypeAlias = Callable[[socket.socket, str], Coroutine[None, None, None]]
logger = logging.getLogger(__name__)


class Listener:
    """One port. listen: host:port; port 0 picks a free port, see `port`. serve: serves a socket
    with the address of its peer, and closes it. tasks_max: further connections are closed."""

    def __init__(self, listen: str, serve: Serve, *, tasks_max: int) -> None:
        self._serve = serve
        self._tasks_max = tasks_max
        self._socket = bind(listen)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """A loop: accept until canceled."""
        try:
            while True:
                await self._accept()
        finally:
            self._socket.close()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Wait for the tasks, then cancel them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in self._tasks:
            task.cancel()

    async def _accept(self) -> None:
        try:
            sock, address = await asyncio.get_running_loop().sock_accept(self._socket)
        except OSError as error:
            logger.warning("listener.accept_failed", extra={"error": repr(error)})
            await asyncio.sleep(PAUSE_S)
            return
        if len(self._tasks) >= self._tasks_max:
            sock.close()
            return
        task = asyncio.create_task(self._serve(sock, str(address[0])))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def bind(listen: str) -> socket.socket:
    """A socket that listens. Raises ConfigError when the port is taken, which is certain only now:
    two sockets may be bound to a port while neither listens, and uvloop hides it later."""
    host, port = split_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, int(port)))
        bound.listen(BACKLOG)
    except (OSError, ValueError) as error:
        bound.close()
        raise ConfigError(f"Cannot listen on {listen}: {error}.") from error
    return bound


def set_socket_options(sock: socket.socket) -> None:
    """asyncio sets TCP_NODELAY only on sockets that were created with a protocol number."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


def raise_open_files_limit() -> None:
    """Raise the limit of open files to what the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        limit = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
