"""Connections of aiokafka on uvloop."""

import asyncio
import hashlib
import socket
from functools import lru_cache
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason, ScramAuthenticator
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError

# A client makes one connection at a time, so a broker whose machine is gone would keep it from
# those that are there for as long as a request may take.
CONNECT_TIMEOUT_S = 5.0
# Such a broker closes no connection either. A request may wait for its answer, but not for the
# acknowledgement of its octets; and an open connection is asked when nothing has come for long.
UNACKNOWLEDGED_MS = 10_000
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}

_connect = AIOKafkaConnection.connect
_send = AIOKafkaConnection.send
_authenticate = AIOKafkaConnection._do_sasl_handshake


async def connect(connection: Any) -> Any:  # noqa: ANN401 - aiokafka has no types
    """As `AIOKafkaConnection.connect`, with a TimeoutError if the broker does not greet within
    seconds. The connection breaks if the machine of the broker vanishes."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        streams = await _connect(connection)
    notice_vanished_peer(streams[1].get_extra_info("socket"))
    return streams


def notice_vanished_peer(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {**KEEPALIVE, "TCP_USER_TIMEOUT": UNACKNOWLEDGED_MS}
    for name, value in options.items():
        if hasattr(socket, name):  # not all systems have all of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def send(connection: Any, request: Any, expect_response: bool = True) -> Any:  # noqa: ANN401
    """As `AIOKafkaConnection.send`, with a KafkaConnectionError if a reset has closed the
    transport.

    A write then raises RuntimeError in uvloop, and nothing in asyncio. In aiokafka it would end the
    task that keeps the metadata of a client, which then never finds its brokers again.
    """
    try:
        return _send(connection, request, expect_response)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"the connection was reset: {error}") from error


async def authenticate(connection: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """As `AIOKafkaConnection`, with a KafkaError if the server does not prove, as SCRAM demands,
    that it knows the password (RFC 5802, section 5).

    A ValueError would end the task that keeps the metadata of a client. The listener may be another
    program that has taken the port of a broker that is down.
    """
    try:
        await _authenticate(connection)
    except (ValueError, LookupError) as error:
        connection.close(reason=CloseReason.AUTH_FAILURE)
        raise AuthenticationFailedError(
            f"the broker does not know the password: {error}"
        ) from error


def salt_password(authenticator: Any, salt: bytes, iterations: int) -> None:  # noqa: ANN401
    """As `ScramAuthenticator.create_salted_password`, which takes a millisecond or more, once for
    the dozens of connections that a service opens when it starts."""
    authenticator._salted_password = _derive_key(
        authenticator._hashname, authenticator._sasl_plain_password, salt, iterations
    )


_derive_key = lru_cache(maxsize=16)(hashlib.pbkdf2_hmac)


def patch_connections() -> None:
    """Let all connections of the process connect, send and authenticate so."""
    ScramAuthenticator.create_salted_password = salt_password
    AIOKafkaConnection.connect = connect
    AIOKafkaConnection.send = send
    AIOKafkaConnection._do_sasl_handshake = authenticate
