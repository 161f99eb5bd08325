"""Connections of aiokafka on uvloop."""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


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


def handle_resets() -> None:
    """Let all connections of the process send so."""
    AIOKafkaConnection.send = send
