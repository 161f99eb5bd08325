"""The SOCKS 5 client, with our server and with others that misbehave."""

import asyncio
from pathlib import Path

import pytest

from kernel.socks5 import client, messages
from kernel.socks5.client import NoReplyInTime, ServerFailed
from kernel.socks5.messages import AuthStatus
from tests.support.socks5 import (
    SOURCE,
    conversation,
    destination,
    login,
    socks5_server,
    trusting,
)
from tests.support.tls import certificate_files


async def connect(port: int) -> None:
    tunnel = await client.log_in(login(port), timeout_s=60)
    await client.connect(tunnel, "127.0.0.1", 25, timeout_s=60)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"token": "another token 16"}, AuthStatus.WRONG_TOKEN),
        ({"source": "192.0.2.77"}, AuthStatus.WRONG_ADDRESS),
    ],
)
async def test_the_client_knows_why_it_is_refused(
    changed: dict[str, str], status: AuthStatus
) -> None:
    async with socks5_server() as server:
        with pytest.raises(ServerFailed) as refused:
            await client.log_in(login(server.port, **changed), timeout_s=60)
        assert refused.value.status is status


async def test_a_certificate_that_is_not_trusted_is_a_failure_of_the_server(tmp_path: Path) -> None:
    files = certificate_files(tmp_path / "its", "localhost")
    others = certificate_files(tmp_path / "another", "localhost")
    async with socks5_server(files=files) as server:
        given = login(server.port, host="localhost", tls=trusting(others))
        with pytest.raises(ServerFailed, match="certificate"):
            await client.log_in(given, timeout_s=60)


ANSWERS = b"\x05\x02\x01\x00" + messages.reply(messages.ReplyCode.SUCCEEDED, SOURCE, 99)


@pytest.mark.parametrize("end", range(len(ANSWERS)))
async def test_a_server_that_breaks_off_anywhere_has_failed(end: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWERS[:end])
        if end >= 4:
            await reader.readexactly(len(conversation(25)))

    async with destination(talk) as port:
        with pytest.raises(ServerFailed):
            await connect(port)


@pytest.mark.parametrize(
    "answer",
    [b"220 mx.example ESMTP\r\n", b"\x05\x00", b"\x05\x02\x01\x00\x04\x00\x00\x01" + b"\0" * 6,
     b"\x05\x02\x01\x00\x05\x00\x00\x09", ANSWERS[:4] + messages.reply(messages.ReplyCode.FAILED)],
)  # fmt: skip
async def test_a_server_that_speaks_something_else_has_failed(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()

    async with destination(talk) as port:
        with pytest.raises(ServerFailed):
            await connect(port)


async def test_a_request_without_an_answer_is_no_failure_of_either_side() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWERS[:4])
        await reader.read()

    async with destination(talk) as port:
        tunnel = await client.log_in(login(port), timeout_s=60)
        with pytest.raises(NoReplyInTime):
            await client.connect(tunnel, "127.0.0.1", 25, timeout_s=0.1)
