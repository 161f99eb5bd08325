"""A server of sessions: connections are counted before TLS, and bounded per client."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from kernel.connection_limit import ConnectionLimiter
from kernel.listener import Listener, set_socket_options
from kernel.proxy_protocol import ClientOf
from kernel.session_connection import SessionConnection
from kernel.tls import CLOSE_S, HANDSHAKE_S

GRACE_S = 5.0  # at a stop, for messages that are arriving
FULL = b"421 4.3.2 Too many connections\r\n"

E = TypeVar("E")


async def peer_itself(_: socket.socket, peer: str) -> str:
    return peer


class SessionServer(Generic[E]):
    """One port. listen: host:port; port 0 picks a free port, see `port`. connect: a connection for
    the address of a client. tls: begins with the connection. client_of: the client's address, by
    that of its peer; raises OSError to refuse it.
    """

    def __init__(
        self,
        listen: str,
        connect: Callable[[str], SessionConnection[E]],
        limit: ConnectionLimiter,
        *,
        tls: ssl.SSLContext | None = None,
        client_of: ClientOf = peer_itself,
    ) -> None:
        self._connect = connect
        self._limit = limit
        self._tls = tls
        self._client_of = client_of
        self._listener = Listener(listen, self._serve, tasks_max=limit.connections_max)
        self.port = self._listener.port
        self._connections: set[SessionConnection[E]] = set()

    async def run(self) -> None:
        """A loop: serve until canceled, then finish the messages that are arriving."""
        try:
            await self._listener.run()
        finally:
            for connection in self._connections:
                connection.stop()
            await self._listener.stop(GRACE_S)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        try:
            client = await self._client_of(sock, peer)
        except OSError:
            sock.close()
            return
        if not self._limit.enter(client):
            with sock, suppress(OSError):
                if self._tls is None:
                    sock.send(FULL)
            return
        try:
            set_socket_options(sock)
            await self._converse(sock, client)
        except OSError:  # the client is gone, or does not speak TLS
            sock.close()
        finally:
            self._limit.leave(client)

    async def _converse(self, sock: socket.socket, client: str) -> None:
        connection = self._connect(client)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: connection,
            sock,
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE_S if self._tls else None,
            ssl_shutdown_timeout=CLOSE_S if self._tls else None,
        )
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
