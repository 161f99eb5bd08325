"""Connections of aiokafka on uvloop."""

import hashlib
from functools import lru_cache
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason, ScramAuthenticator
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError

_send = AIOKafkaConnection.send
_authenticate = AIOKafkaConnection._do_sasl_handshake


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
    """Let all connections of the process send and authenticate so."""
    ScramAuthenticator.create_salted_password = salt_password
    AIOKafkaConnection.send = send
    AIOKafkaConnection._do_sasl_handshake = authenticate
