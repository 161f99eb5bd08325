"""Connections through a SOCKS 5 server."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import cast

from kernel.socks5 import messages
from kernel.socks5.messages import AuthStatus, ProtocolError, ReplyCode

# What the server says about the destination, and not about itself.
OF_DESTINATION = {
    ReplyCode.NOT_ALLOWED: "the server does not allow it",
    ReplyCode.NETWORK_UNREACHABLE: "Network is unreachable",
    ReplyCode.HOST_UNREACHABLE: "No route to host",
    ReplyCode.CONNECTION_REFUSED: "Connection refused",
    ReplyCode.TIMED_OUT: "Connection timed out",
}


class ServerFailed(Exception):
    """The SOCKS server failed, or refuses us; nothing is known about the destination. status: why
    it refuses us."""

    def __init__(self, text: str, status: AuthStatus = AuthStatus.GRANTED) -> None:
        super().__init__(text)
        self.status = status


class DestinationFailed(OSError):
    """The server could not connect to the destination."""


class NoReplyInTime(Exception):
    """The server has not answered a request: the destination is slow, or the server is gone."""


@dataclass(frozen=True, slots=True)
class Socks5Login:
    """host, port: of the server. source: the address to connect from. tls: None for clear text."""

    host: str
    port: int
    source: str
    token: str
    tls: ssl.SSLContext | None


class Tunnel(asyncio.Protocol):
    """A connection to the server, which becomes one to a destination."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._is_lost = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._wake()

    def eof_received(self) -> bool:
        self._is_lost = True
        self._wake()
        return False

    def connection_lost(self, _: Exception | None) -> None:
        self._is_lost = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self, octets: int) -> bytes:
        """Raises ConnectionError at the end of the connection."""
        while len(self._received) < octets:
            if self._is_lost:
                raise ConnectionError("it closed the connection")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._received[:octets])
        del self._received[:octets]
        return data

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Let another protocol use the connection from now on. What the destination has sent
        already comes first."""
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._received:
            protocol.data_received(bytes(self._received))
        if self._is_lost:
            protocol.connection_lost(None)

    async def log_in(self, login: Socks5Login) -> None:
        """Raises ServerFailed."""
        self.transport.write(messages.GREETING + messages.credentials(login.source, login.token))
        version, method = await self.read(2)
        if (version, method) != (messages.VERSION, messages.USERNAME_PASSWORD):
            raise ServerFailed("it is no SOCKS server with passwords")
        _, status = await self.read(2)
        if status == AuthStatus.WRONG_ADDRESS:
            raise ServerFailed(f"it does not own {login.source}", AuthStatus.WRONG_ADDRESS)
        if status != AuthStatus.GRANTED:
            raise ServerFailed("it refuses the token", AuthStatus.WRONG_TOKEN)

    async def connect(self, address: str, port: int) -> str:
        """Connect to a destination. Returns the address that the server connects from. Raises
        ServerFailed and DestinationFailed."""
        self.transport.write(messages.connect_request(address, port))
        code, source = await messages.read_reply(self.read)
        if code in OF_DESTINATION:
            raise DestinationFailed(OF_DESTINATION[ReplyCode(code)])
        if code != ReplyCode.SUCCEEDED:
            raise ServerFailed(f"it replied with code {code}")
        return source


async def log_in(login: Socks5Login, *, timeout_s: float) -> Tunnel:
    """Connect to the server and authenticate. Raises ServerFailed."""
    tunnel = Tunnel()
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().create_connection(
                lambda: tunnel,
                login.host,
                login.port,
                ssl=login.tls,
                server_hostname=login.host if login.tls else None,
            )
            await tunnel.log_in(login)
    except BaseException as error:
        _abort(tunnel)
        if isinstance(error, TimeoutError):
            raise ServerFailed(f"no answer within {timeout_s:g} s") from error
        if isinstance(error, OSError | ProtocolError | UnicodeError):
            raise ServerFailed(str(error) or type(error).__name__) from error
        raise
    return tunnel


async def connect(tunnel: Tunnel, address: str, port: int, *, timeout_s: float) -> str:
    """Returns the address that the server connects from. If it raises, the tunnel is closed. Raises
    ServerFailed, DestinationFailed and NoReplyInTime."""
    try:
        async with asyncio.timeout(timeout_s):
            return await tunnel.connect(address, port)
    except BaseException as error:
        tunnel.transport.abort()
        if isinstance(error, DestinationFailed):
            raise
        if isinstance(error, TimeoutError):
            raise NoReplyInTime(f"no connection within {timeout_s:g} s") from error
        if isinstance(error, OSError | ProtocolError):
            raise ServerFailed(str(error) or type(error).__name__) from error
        raise


def _abort(tunnel: Tunnel) -> None:
    if hasattr(tunnel, "transport"):
        tunnel.transport.abort()
