"""What is read of the canaries at the address of `obm probe`, whoever answers there."""

import asyncio

import pytest

from services.ingest.clients.canaries import read_canaries
from services.ingest.domain.health_checks import CanaryStatus

OK = b"HTTP/1.0 200 OK\r\n\r\n"
MISSED, DELIVERED = (
    b'obm_probe_missed_in_a_row{canary="a"} ',
    b"obm_probe_delivered_timestamp_seconds",
)


async def read_from(answer: bytes) -> list[CanaryStatus]:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await read_canaries(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH\r\n", OK + b"\xff", OK + b"a{b", b"HTTP/1.0 404 Not Found\r\n\r\n"],
)
async def test_another_server_is_not_the_probe(answer: bytes) -> None:
    with pytest.raises((OSError, ValueError)):
        await read_from(answer)


async def test_any_number_is_read() -> None:
    [found] = await read_from(OK + MISSED + b"+Inf\n" + DELIVERED + b'{canary="a"} 5\n')
    assert found == CanaryStatus("a", float("inf"), 5.0)
    assert await read_from(OK) == []
