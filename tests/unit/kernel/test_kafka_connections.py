"""Connections to a broker that is gone."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError

import kernel.kafka


class Request:
    """Takes any version."""

    def prepare(self, _: object) -> "Request":
        return self

    def build_request_header(self, **_: object) -> "Request":
        return self

    def encode(self) -> bytes:
        return b"x"


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_request_on_a_connection_that_was_reset_fails_as_one_to_the_broker(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    assert kernel.kafka

    async def scenario() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        connection = AIOKafkaConnection(host, port, request_timeout_ms=1_000)
        _, connection._writer = await asyncio.open_connection(host, port)
        connection._writer.transport.abort()
        await asyncio.sleep(0.01)
        with pytest.raises((KafkaConnectionError, TimeoutError)):
            await connection.send(Request())
        server.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())
