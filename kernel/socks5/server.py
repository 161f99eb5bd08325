"""A SOCKS 5 server that connects from the addresses of its machine, for clients with a token.

It resolves no names, listens for nobody and relays no datagrams: CONNECT to an address is all.
"""

import asyncio
import errno
import hmac
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from kernel import metrics
from kernel.listener import Listener, set_socket_options
from kernel.socks5 import messages
from kernel.socks5.messages import AuthStatus, ProtocolError, ReplyCode, RequestRefused
from kernel.socks5.relay import Stream, open_stream, relay, stream_of

IP_BIND_ADDRESS_NO_PORT = 24  # Linux; Python names it from 3.12 on
SHUTDOWN_S = 30.0  # of TLS: for a client that is slow to read the last octets
ACCEPTED_BEYOND = 100  # connections beyond the limit, which are refused with a log line
CODES = {
    errno.ECONNREFUSED: ReplyCode.CONNECTION_REFUSED,
    errno.ECONNRESET: ReplyCode.CONNECTION_REFUSED,
    errno.ENETUNREACH: ReplyCode.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: ReplyCode.HOST_UNREACHABLE,
    errno.ETIMEDOUT: ReplyCode.TIMED_OUT,
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Socks5Config:
    """tokens: any of them. addresses: that clients may connect from; empty: all of the machine.
    refusal_of: why a destination is not allowed, by address and port; empty if it is."""

    tokens: Sequence[str]
    refusal_of: Callable[[str, int], str]
    addresses: Sequence[str] = ()
    connections_max: int = 10_000
    handshake_timeout_s: float = 10.0
    connect_timeout_s: float = 30.0
    idle_timeout_s: float = 900.0


class RelayRefused(Exception):
    """The reason is the text. result: in the metrics."""

    def __init__(self, reason: str, result: str = "refused") -> None:
        super().__init__(reason)
        self.result = result


class LoginChecked(Exception):
    """A client has authenticated and closed the connection: it checks whether it could connect."""


class Socks5Server:
    """One port. listen: host:port; port 0 picks a free one, see `port`."""

    def __init__(self, listen: str, config: Socks5Config, *, tls: ssl.SSLContext | None) -> None:
        self._config = config
        self._tls = tls
        self._tokens = [one.encode("ascii") for one in config.tokens]
        tasks_max = config.connections_max + ACCEPTED_BEYOND
        self._listener = Listener(listen, self._serve, tasks_max=tasks_max)
        self.port = self._listener.port
        self._connections = 0
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """A loop: accept connections until it is canceled, or drained."""
        accepting = asyncio.create_task(self._listener.run())
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait((accepting, draining), return_when=asyncio.FIRST_COMPLETED)
        finally:
            accepting.cancel()
            draining.cancel()
            await asyncio.wait((accepting, draining))
        if not self._draining.is_set():
            accepting.result()  # it ends with an error only

    async def drain(self, timeout_s: float) -> None:
        """Accept no more, and wait for the connections to end; then cut them."""
        self._draining.set()
        await self._listener.stop(timeout_s)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        if self._connections >= self._config.connections_max:
            sock.close()
            self._log_refusal(RelayRefused("full"), peer)
            return
        self._connections += 1
        metrics.egress_host_connections.set(self._connections)
        try:
            await self._serve_client(sock, peer)
        except RelayRefused as refused:
            self._log_refusal(refused, peer)
        except LoginChecked:
            metrics.egress_host_requests.labels("checked").inc()
        finally:
            self._connections -= 1
            metrics.egress_host_connections.set(self._connections)

    @staticmethod
    def _log_refusal(refused: RelayRefused, peer: str) -> None:
        metrics.egress_host_requests.labels(refused.result).inc()
        logger.warning("egress_host.refused", extra={"reason": str(refused), "client": peer})

    async def _serve_client(self, sock: socket.socket, peer: str) -> None:
        set_socket_options(sock)
        client: Stream | None = None
        try:
            async with asyncio.timeout(self._config.handshake_timeout_s):
                client = await self._accept(sock)
                source = await self._authenticate(client)
                try:
                    address, port = await self._read_request(client)
                except BaseException:
                    source.close()
                    raise
            remote = await self._connect(client, source, address, port=port, peer=peer)
        except BaseException as error:
            close(client, sock)
            if isinstance(error, TimeoutError):
                raise RelayRefused("handshake timed out") from error
            if isinstance(error, OSError | EOFError):  # also of TLS
                raise RelayRefused("handshake broken off") from error
            raise
        await self._relay(client, remote, peer=peer, destination=address)

    async def _accept(self, sock: socket.socket) -> Stream:
        reader, protocol = open_stream()
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: protocol,
            sock,
            ssl=self._tls,
            ssl_handshake_timeout=self._config.handshake_timeout_s if self._tls else None,
            ssl_shutdown_timeout=SHUTDOWN_S if self._tls else None,
        )
        return stream_of(transport, reader, protocol)

    async def _authenticate(self, client: Stream) -> socket.socket:
        """A socket that is bound to the address that the client has named. Raises RelayRefused."""
        read, write = client.reader.readexactly, client.writer.write
        try:
            if not await messages.read_greeting(read):
                write(bytes((messages.VERSION, messages.NO_METHOD)))
                raise RelayRefused("no password offered")
            write(bytes((messages.VERSION, messages.USERNAME_PASSWORD)))
            username, password = await messages.read_credentials(read)
        except ProtocolError as error:
            raise RelayRefused(f"no SOCKS 5: {error}") from error
        if not self._is_token(password):
            write(messages.status_message(AuthStatus.WRONG_TOKEN))
            raise RelayRefused("wrong token")
        source = self._bind(username)
        if source is None:
            write(messages.status_message(AuthStatus.WRONG_ADDRESS))
            raise RelayRefused(f"not an address of this machine: {username[:100]!r}")
        write(messages.status_message(AuthStatus.GRANTED))
        return source

    def _is_token(self, password: bytes) -> bool:
        """In a time that does not depend on which token it resembles."""
        return sum(hmac.compare_digest(password, one) for one in self._tokens) > 0

    def _bind(self, username: bytes) -> socket.socket | None:
        """None if it is no address of this machine, or not one of those that are configured."""
        try:
            address = ip_address(username.decode("ascii"))
        except ValueError:  # also of the decoder
            return None
        listed = self._config.addresses
        if address.is_unspecified or (listed and str(address) not in listed):
            return None
        sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
        sock.setblocking(False)
        try:
            # The port is chosen when it connects, so that ports are used up per destination alone.
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((str(address), 0))
        except OSError:
            sock.close()
            return None
        return sock

    async def _read_request(self, client: Stream) -> tuple[str, int]:
        """Raises RelayRefused and LoginChecked."""
        try:
            address, port = await messages.read_request(client.reader.readexactly)
        except (OSError, EOFError) as error:
            raise LoginChecked from error
        except RequestRefused as refused:
            client.writer.write(messages.reply(refused.code))
            raise RelayRefused(refused.code.name.lower().replace("_", " ")) from refused
        except ProtocolError as error:
            raise RelayRefused(f"no SOCKS 5: {error}") from error
        if reason := self._config.refusal_of(address, port):
            client.writer.write(messages.reply(ReplyCode.NOT_ALLOWED))
            raise RelayRefused(f"{reason}: {address}:{port}")
        return address, port

    async def _connect(
        self, client: Stream, source: socket.socket, address: str, *, port: int, peer: str
    ) -> Stream:
        """Raises RelayRefused if there is no connection."""
        code = ReplyCode.FAILED
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                await asyncio.get_running_loop().sock_connect(source, (address, port))
            remote = await self._take(source)
        except BaseException as error:
            source.close()
            if isinstance(error, TimeoutError):
                code = ReplyCode.TIMED_OUT
            elif isinstance(error, OSError):
                code = CODES.get(error.errno or 0, ReplyCode.FAILED)
            else:
                raise
            client.writer.write(messages.reply(code))
            name = code.name.lower()
            raise RelayRefused(f"{name}: {address}:{port} ({error})", name) from error
        local = remote.writer.get_extra_info("sockname")
        client.writer.write(messages.reply(ReplyCode.SUCCEEDED, local[0], local[1]))
        metrics.egress_host_requests.labels("succeeded").inc()
        extra = {"client": peer, "source": local[0], "destination": f"{address}:{port}"}
        logger.info("egress_host.connected", extra=extra)
        return remote

    @staticmethod
    async def _take(source: socket.socket) -> Stream:
        set_socket_options(source)
        reader, protocol = open_stream()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: protocol, sock=source)
        return stream_of(transport, reader, protocol)

    async def _relay(self, client: Stream, remote: Stream, *, peer: str, destination: str) -> None:
        idle_timeout_s = self._config.idle_timeout_s
        if reason := await relay(client, remote, idle_timeout_s=idle_timeout_s):
            extra = {"reason": reason, "client": peer, "destination": destination}
            logger.info("egress_host.cut", extra=extra)


def close(client: Stream | None, sock: socket.socket) -> None:
    """What was written last, such as a refusal, is still sent."""
    if client is None:
        sock.close()
    else:
        client.writer.close()
