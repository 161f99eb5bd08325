"""The listeners of submission: connections are counted before TLS, and bounded per client."""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from kernel.tls import CLOSE_S, HANDSHAKE_S
from mail.reachable import Network, canonical_ip, is_within
from mail.smtp_server_events import ServerConfig
from services.ingest.api.listener import Listener, set_socket_options
from services.ingest.api.submission.connection import SubmissionConnection
from services.ingest.api.submission.proxy import read_proxy_header
from services.ingest.api.submission.submitter import SubmissionDependencies, Submitter
from services.ingest.domain.login_throttle import network_of
from services.ingest.domain.proxy_protocol import ProxyError

GRACE_S = 5.0  # at a stop, for messages that are arriving
FULL = b"421 4.3.2 Too many connections\r\n"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SubmissionConfig:
    """server: for a new session. context: of STARTTLS and of implicit TLS. name_of: by which the
    server calls itself, by the host that the client names in TLS; empty for others. proxies:
    balancers that send the PROXY protocol."""

    server: Callable[[], ServerConfig]
    context: ssl.SSLContext
    name_of: Callable[[str], str]
    proxies: Collection[Network] = ()


class ConnectionLimit:
    """Counts the connections of all listeners."""

    def __init__(self, connections_max: int, client_connections_max: int) -> None:
        self.connections_max = connections_max
        self._client_connections_max = client_connections_max
        self._open: Counter[str] = Counter()

    def enter(self, client: str) -> bool:
        """False if there are too many."""
        network = network_of(client)
        if (
            self._open.total() >= self.connections_max
            or self._open[network] >= self._client_connections_max
        ):
            return False
        self._open[network] += 1
        return True

    def leave(self, client: str) -> None:
        network = network_of(client)
        self._open[network] -= 1
        if not self._open[network]:
            del self._open[network]


class SubmissionServer:
    """One port. listen: host:port; port 0 picks a free port, see `port`. implicit_tls: TLS begins
    with the connection."""

    def __init__(
        self,
        listen: str,
        config: SubmissionConfig,
        *,
        dependencies: SubmissionDependencies,
        limit: ConnectionLimit,
        implicit_tls: bool,
    ) -> None:
        self._config = config
        self._dependencies = dependencies
        self._limit = limit
        self._implicit_tls = implicit_tls
        self._listener = Listener(listen, self._serve, tasks_max=limit.connections_max)
        self.port = self._listener.port
        self._connections: set[SubmissionConnection] = set()

    async def run(self) -> None:
        """A loop: serve until canceled, then finish the messages that are arriving."""
        try:
            await self._listener.run()
        finally:
            for connection in self._connections:
                connection.stop()
            await self._listener.stop(GRACE_S)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        client = peer
        try:
            if is_within(canonical_ip(peer), self._config.proxies):
                client = await read_proxy_header(sock) or peer
        except (OSError, ProxyError) as error:
            logger.warning("submission.no_proxy_header", extra={"peer": peer, "error": str(error)})
            sock.close()
            return
        if not self._limit.enter(client):
            with sock, suppress(OSError):
                if not self._implicit_tls:
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
        connection = SubmissionConnection(
            Submitter(self._dependencies, client),
            self._config.server(),
            context=self._config.context,
            name_of=self._config.name_of,
            secure=self._implicit_tls,
        )
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: connection,
            sock,
            ssl=self._config.context if self._implicit_tls else None,
            ssl_handshake_timeout=HANDSHAKE_S if self._implicit_tls else None,
            ssl_shutdown_timeout=CLOSE_S if self._implicit_tls else None,
        )
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
