"""The PROXY protocol of HAProxy, versions 1 and 2: the client's address, from a balancer.

A connection's header is read, and nothing after it, because TLS may follow.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import TypeAlias

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2
V1_MIN, V1_MAX = len(b"PROXY UNKNOWN\r\n"), 107  # octets with CRLF
V2_HEAD = 16
V2_MAX = 4_096  # octets after the head; TLVs are skipped
_V2 = Struct("!12sBBH")
HEADER_S = 5.0  # timeout
_ADDRESSES = {0x11: (IPv4Address, 4), 0x21: (IPv6Address, 16)}  # TCP over IPv4 and IPv6

ClientOf: TypeAlias = Callable[[socket.socket, str], Awaitable[str]]
logger = logging.getLogger(__name__)


class ProxyError(ValueError):
    """The octets are not a PROXY header."""


def parse_v1(line: bytes) -> str:
    """`PROXY TCP4 client server port port CRLF`. The client's address; empty for UNKNOWN, such as a
    health check of the balancer. Raises ProxyError."""
    words = line.removesuffix(b"\r\n").decode("latin-1").split(" ")
    if not line.endswith(b"\r\n") or words[0] != "PROXY" or len(words) < 2:
        raise ProxyError("no PROXY header")
    if words[1] == "UNKNOWN":
        return ""
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise ProxyError("invalid PROXY header")
    try:
        return str(ip_address(words[2]))
    except ValueError:
        raise ProxyError("invalid address in the PROXY header") from None


def v2_length(head: bytes) -> int:
    """The octets that follow the head of 16 octets. Raises ProxyError."""
    signature, version, _, length = _V2.unpack(head)
    if signature != SIGNATURE or version >> 4 != 2 or length > V2_MAX:
        raise ProxyError("no PROXY header")
    return int(length)


def parse_v2(head: bytes, body: bytes) -> str:
    """The client's address; empty for LOCAL or another family. Raises ProxyError."""
    _, version, family, _ = _V2.unpack(head)
    if version & 0x0F == 0 or family not in _ADDRESSES:
        return ""
    kind, octets = _ADDRESSES[family]
    if len(body) < 2 * octets + 4:
        raise ProxyError("the PROXY header is too short")
    return str(kind(body[:octets]))


def client_behind(is_proxy: Callable[[str], bool]) -> ClientOf:
    """is_proxy: whether an address is that of a balancer, which must send a header."""

    async def client_of(sock: socket.socket, peer: str) -> str:
        if not is_proxy(peer):
            return peer
        try:
            return await read_proxy_header(sock) or peer
        except (OSError, ProxyError) as error:
            extra = {"peer": peer, "error": str(error)}
            logger.warning("proxy_protocol.no_header", extra=extra)
            raise ConnectionError from error

    return client_of


async def read_proxy_header(sock: socket.socket) -> str:
    """The client's address; empty if the balancer itself is the client. Raises ProxyError or
    OSError."""
    async with asyncio.timeout(HEADER_S):
        head = await _read(sock, V1_MIN)  # no more: the client may wait for the server
        if head.startswith(SIGNATURE):
            head += await _read(sock, V2_HEAD - V1_MIN)
            return parse_v2(head, await _read(sock, v2_length(head)))
        while not head.endswith(b"\r\n"):
            if len(head) >= V1_MAX:
                raise ProxyError("no PROXY header")
            head += await _read(sock, 1)
        return parse_v1(head)


async def _read(sock: socket.socket, octets: int) -> bytes:
    """Exactly this many octets."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < octets:
        if not (more := await loop.sock_recv(sock, octets - len(data))):
            raise ProxyError("the connection ended in the PROXY header")
        data += more
    return data
