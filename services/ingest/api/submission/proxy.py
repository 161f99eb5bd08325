"""The client behind a balancer: reads the PROXY header of a connection, and nothing after it,
because TLS may follow."""

import asyncio
import logging
import socket
from collections.abc import Collection

from kernel.session_server import ClientOf
from mail.reachable import Network, canonical_ip, is_within
from services.ingest.domain.proxy_protocol import (
    SIGNATURE,
    V1_MAX,
    V2_HEAD,
    ProxyError,
    parse_v1,
    parse_v2,
    v2_length,
)

HEADER_S = 5.0
logger = logging.getLogger(__name__)


def client_behind(proxies: Collection[Network]) -> ClientOf:
    """proxies: balancers that send the PROXY protocol."""

    async def client_of(sock: socket.socket, peer: str) -> str:
        if not is_within(canonical_ip(peer), proxies):
            return peer
        try:
            return await read_proxy_header(sock) or peer
        except (OSError, ProxyError) as error:
            extra = {"peer": peer, "error": str(error)}
            logger.warning("submission.no_proxy_header", extra=extra)
            raise ConnectionError from error

    return client_of


async def read_proxy_header(sock: socket.socket) -> str:
    """The client's address; empty if the balancer itself is the client. Raises ProxyError or
    OSError."""
    async with asyncio.timeout(HEADER_S):
        head = await _read(sock, V2_HEAD)
        if head.startswith(SIGNATURE):
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
