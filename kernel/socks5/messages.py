"""The messages of SOCKS 5, as both sides read and write them."""

from collections.abc import Awaitable, Callable
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

Read: TypeAlias = Callable[[int], Awaitable[bytes]]
"""Reads exactly as many octets."""

VERSION, AUTHENTICATION_VERSION = 5, 1
USERNAME_PASSWORD, NO_METHOD = 2, 0xFF
CONNECT = 1
IPV4, HOST_NAME, IPV6 = 1, 3, 4
OCTETS_MAX = 255  # of a username, a password and a host name
TOKEN_MIN = 16  # characters
GREETING = bytes((VERSION, 1, USERNAME_PASSWORD))


class AuthStatus(IntEnum):
    """The answer to username and password. RFC 1929 leaves the values above 0 to the server."""

    GRANTED = 0
    WRONG_TOKEN = 1
    WRONG_ADDRESS = 2  # not one of the server's own


class ReplyCode(IntEnum):
    """The answer to a request: RFC 1928 §6."""

    SUCCEEDED = 0
    FAILED = 1  # of the server itself
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TIMED_OUT = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


class ProtocolError(Exception):
    """The other side does not speak SOCKS 5."""


class RequestRefused(Exception):
    """A request that the server does not serve."""

    def __init__(self, code: ReplyCode) -> None:
        super().__init__(code.name)
        self.code = code


async def read_greeting(read: Read) -> bool:
    """Whether the client offers a username and a password. Raises ProtocolError."""
    version, methods = await read(2)
    if version != VERSION:
        raise ProtocolError(f"version {version}")
    return USERNAME_PASSWORD in await read(methods)


def check_token(token: str) -> None:
    """Raises ValueError unless it is a secret that fits into a password."""
    if not (TOKEN_MIN <= len(token) <= OCTETS_MAX and token.isascii() and token.isprintable()):
        raise ValueError(f"each token has {TOKEN_MIN} to {OCTETS_MAX} ASCII characters.")


def credentials(username: str, password: str) -> bytes:
    fields = (username.encode("ascii"), password.encode("ascii"))
    return bytes((AUTHENTICATION_VERSION,)) + b"".join(bytes((len(one),)) + one for one in fields)


async def read_credentials(read: Read) -> tuple[bytes, bytes]:
    """Username and password. Raises ProtocolError."""
    version, length = await read(2)
    if version != AUTHENTICATION_VERSION:
        raise ProtocolError(f"version {version} of the authentication")
    username = await read(length)
    [length] = await read(1)
    return username, await read(length)


def status_message(status: AuthStatus) -> bytes:
    return bytes((AUTHENTICATION_VERSION, status))


def connect_request(address: str, port: int) -> bytes:
    return bytes((VERSION, CONNECT, 0)) + _encode_endpoint(address, port)


async def read_request(read: Read) -> tuple[str, int]:
    """Address and port to connect to. Raises RequestRefused for other commands and for host names,
    which the client must resolve, and ProtocolError."""
    version, command, _, kind = await read(4)
    if version != VERSION:
        raise ProtocolError(f"version {version} of the request")
    endpoint = await _read_endpoint(read, kind)
    if command != CONNECT:
        raise RequestRefused(ReplyCode.COMMAND_NOT_SUPPORTED)
    if endpoint is None:
        raise RequestRefused(ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED)
    return endpoint


def reply(code: ReplyCode, address: str = "0.0.0.0", port: int = 0) -> bytes:  # noqa: S104
    """address, port: the local end of the connection that the server has made."""
    return bytes((VERSION, code, 0)) + _encode_endpoint(address, port)


async def read_reply(read: Read) -> tuple[int, str]:
    """The code, and the address that the server connects from. Raises ProtocolError."""
    version, code, _, kind = await read(4)
    if version != VERSION:
        raise ProtocolError(f"version {version} of the reply")
    address, _ = await _read_endpoint(read, kind) or ("", 0)
    return code, address


def _encode_endpoint(address: str, port: int) -> bytes:
    packed = ip_address(address).packed
    kind = IPV4 if len(packed) == 4 else IPV6
    return bytes((kind,)) + packed + port.to_bytes(2, "big")


async def _read_endpoint(read: Read, kind: int) -> tuple[str, int] | None:
    """None if it is a host name. Raises ProtocolError."""
    address: str | None = None
    if kind == IPV4:
        address = str(IPv4Address(await read(4)))
    elif kind == IPV6:
        address = str(IPv6Address(await read(16)))
    elif kind == HOST_NAME:
        [length] = await read(1)
        await read(length)
    else:
        raise ProtocolError(f"address type {kind}")
    port = int.from_bytes(await read(2), "big")
    return None if address is None else (address, port)
