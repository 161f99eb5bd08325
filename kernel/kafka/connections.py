"""Connections of aiokafka on uvloop."""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
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


def handle_failures() -> None:
    """Let all connections of the process send and authenticate so."""
    AIOKafkaConnection.send = send
    AIOKafkaConnection._do_sasl_handshake = authenticate
