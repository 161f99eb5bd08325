"""The SOCKS 5 server, with an independent client and by the octets of RFC 1928 and RFC 1929."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvloop
from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio.v2 import Proxy

from kernel import metrics
from kernel.socks5 import client, messages
from kernel.socks5.client import DestinationFailed, ServerFailed
from tests.support.socks5 import (
    OTHER_TOKEN,
    SOURCE,
    TOKEN,
    conversation,
    destination,
    full_backlog,
    login,
    socks5_server,
    trusting,
)
from tests.support.tls import certificate_files

BIG = bytes(range(256)) * 4 * 4096  # 4 MiB: more than all buffers hold


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What the client sends until it closes its direction, after its address."""
    writer.write(str(writer.get_extra_info("peername")[0]).encode() + b"\n")
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def run_on(loop: str, scenario: Coroutine[Any, Any, None]) -> None:
    """loop: of production, or of the library."""
    factory = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario)


# ── an independent client ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tls", [False, True], ids=["clear text", "TLS"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_of_another_library_connects_from_the_address_that_it_names(
    loop: str,
    tls: bool,
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        files = certificate_files(tmp_path, "127.0.0.1", "localhost") if tls else None
        async with destination(echo) as port, socks5_server(files=files) as server:
            proxy = Proxy(
                ProxyType.SOCKS5, "localhost", server.port, SOURCE, OTHER_TOKEN, rdns=False,
                proxy_ssl=trusting(files) if files else None,
            )  # fmt: skip
            stream = await proxy.connect("127.0.0.1", port, timeout=60)
            assert await stream.read_exactly(len(SOURCE) + 1) == f"{SOURCE}\n".encode()
            sending = asyncio.create_task(stream.write(BIG))
            assert await stream.read_exactly(len(BIG)) == BIG
            await sending
            await stream.close()

    run_on(loop, scenario())


@pytest.mark.parametrize(
    ("username", "password", "config"),
    [
        (SOURCE, "0123456789abcdeg", {}),
        (SOURCE, TOKEN[:-1], {}),
        ("192.0.2.77", TOKEN, {}),
        ("0.0.0.0", TOKEN, {}),
        ("::", TOKEN, {}),
        ("localhost", TOKEN, {}),
        (SOURCE, TOKEN, {"addresses": ("127.0.0.8",)}),
    ],
    ids=["token", "prefix", "not its own", "any", "any IPv6", "a name", "not listed"],
)
async def test_a_client_is_refused_without_a_token_or_an_address_of_the_machine(
    username: str, password: str, config: dict[str, Any]
) -> None:
    async with socks5_server(**config) as server:
        proxy = Proxy(ProxyType.SOCKS5, "127.0.0.1", server.port, username, password, rdns=False)
        with pytest.raises(ProxyError, match="authentication fail"):
            await proxy.connect("127.0.0.1", 1, timeout=60)


async def test_a_destination_that_is_not_allowed_or_that_refuses_has_a_code_of_its_own() -> None:
    def refusal_of(_: str, port: int) -> str:
        return "port not allowed" if port == 80 else ""

    async with socks5_server(refusal_of=refusal_of) as server:
        proxy = Proxy(ProxyType.SOCKS5, "127.0.0.1", server.port, SOURCE, TOKEN, rdns=False)
        with pytest.raises(ProxyError) as not_allowed:
            await proxy.connect("127.0.0.1", 80, timeout=60)
        assert not_allowed.value.error_code == messages.ReplyCode.NOT_ALLOWED
        async with destination(echo) as port:
            pass
        with pytest.raises(ProxyError) as refused:
            await proxy.connect("127.0.0.1", port, timeout=60)
        assert refused.value.error_code == messages.ReplyCode.CONNECTION_REFUSED
        named = Proxy(ProxyType.SOCKS5, "127.0.0.1", server.port, SOURCE, TOKEN, rdns=True)
        with pytest.raises(ProxyError) as name:
            await named.connect("localhost", port, timeout=60)
        assert name.value.error_code == messages.ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED


# ── octets ──────────────────────────────────────────────────────────────────────────────────────


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send the parts, each by itself, and read what the server answers until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(OSError):
        for one in parts:
            writer.write(one)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write_eof()
    answer = b""
    with suppress(OSError):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_handshake_may_be_cut_into_segments_anywhere_and_half_closed() -> None:
    async with destination(echo) as port, socks5_server() as server:
        whole = conversation(port) + b"EHLO x\r\n"
        answers = {
            await exchange(server.port, whole[:at], whole[at:]) for at in range(len(whole) + 1)
        }
        answers.add(await exchange(server.port, *(whole[n : n + 1] for n in range(len(whole)))))
    before = b"\x05\x02\x01\x00" + messages.reply(messages.ReplyCode.SUCCEEDED, SOURCE)[:-2]
    after = f"{SOURCE}\nEHLO x\r\n".encode()
    assert {(one[: len(before)], one[len(before) + 2 :]) for one in answers} == {(before, after)}


async def test_a_handshake_that_ends_anywhere_is_closed_and_frees_its_place() -> None:
    async with destination(echo) as port, socks5_server() as server:
        whole = conversation(port)
        for end in range(len(whole)):
            answer = await exchange(server.port, whole[:end])
            assert answer in {b"\x05\x02\x01\x00"[:length] for length in (0, 2, 4)}
        await until_idle()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\x04\x01\x00\x19\x7f\x00\x00\x01\x00", b""),  # SOCKS 4
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 200, b""),
        (b"\x05\x01\x00", b"\x05\xff"),  # without a password
        (b"\x05\x00", b"\x05\xff"),
        (b"\x05\x01\x02\x02\x01a\x01b", b"\x05\x02"),  # a wrong version of RFC 1929
        (b"\x05\x01\x02\x01\x00\x00", b"\x05\x02\x01\x01"),  # empty
        (b"\x05\x02\x00\x02" + messages.credentials(SOURCE, TOKEN) + b"\x05\x01\x00\x09",
         b"\x05\x02\x01\x00"),  # an unknown type of address
        (conversation(25).replace(b"\x05\x01\x00\x01", b"\x05\x02\x00\x01"),
         b"\x05\x02\x01\x00" + messages.reply(messages.ReplyCode.COMMAND_NOT_SUPPORTED)),  # BIND
        (conversation(25).replace(b"\x05\x01\x00\x01", b"\x05\x03\x00\x01"),
         b"\x05\x02\x01\x00" + messages.reply(messages.ReplyCode.COMMAND_NOT_SUPPORTED)),  # UDP
    ],
)  # fmt: skip
async def test_what_is_no_request_of_ours_is_refused(sent: bytes, answer: bytes) -> None:
    async with socks5_server() as server:
        assert await exchange(server.port, sent) == answer


async def test_no_octets_keep_the_server_from_serving() -> None:
    random = Random(1928)
    async with destination(echo) as port, socks5_server() as server:
        whole = conversation(port)
        for _ in range(300):
            octets = bytearray(whole)
            for _change in range(random.randint(1, 4)):
                octets[random.randrange(len(octets))] = random.randrange(256)
            await exchange(server.port, bytes(octets))
        await until_idle()
        assert (await exchange(server.port, whole)).endswith(f"{SOURCE}\n".encode())


async def test_each_refusal_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "kernel.socks5.server")
    async with socks5_server(refusal_of=lambda *_: "private destination") as server:
        for sent in (
            b"\x05\x01\x00",
            messages.GREETING + messages.credentials(SOURCE, "x" * 16),
            messages.GREETING + messages.credentials("192.0.2.77", TOKEN),
            conversation(25),
        ):
            await exchange(server.port, sent)
        await until_idle()
    reasons = [record.__dict__["reason"] for record in caplog.records]
    assert reasons == [
        "no password offered",
        "wrong token",
        "not an address of this machine: b'192.0.2.77'",
        "private destination: 127.0.0.1:25",
    ]
    assert not any(TOKEN in str(record.__dict__) for record in caplog.records)


async def until_idle() -> None:
    while metrics.egress_host_connections._value.get():
        await asyncio.sleep(0.01)


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


async def test_connections_beyond_the_limit_are_closed_at_once() -> None:
    async with destination(echo) as port, socks5_server(connections_max=1) as server:
        first = await client.log_in(login(server.port), timeout_s=60)
        await client.connect(first, "127.0.0.1", port, timeout_s=60)
        with pytest.raises(ServerFailed):
            await client.log_in(login(server.port), timeout_s=60)
        first.transport.abort()
        await until_idle()
        again = await client.log_in(login(server.port), timeout_s=60)
        again.transport.abort()


async def test_a_silent_client_is_closed() -> None:
    async with socks5_server(handshake_timeout_s=0.1) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_without_progress_is_cut() -> None:
    async with destination(echo) as port, socks5_server(idle_timeout_s=0.2) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(conversation(port))
        with suppress(OSError):
            assert (await reader.read()).endswith(f"{SOURCE}\n".encode())
        writer.close()


async def test_a_destination_that_does_not_answer_has_another_code_than_one_that_refuses() -> None:
    async with socks5_server(connect_timeout_s=0.1) as server, full_backlog() as port:
        tunnel = await client.log_in(login(server.port), timeout_s=60)
        with pytest.raises(DestinationFailed, match="timed out"):
            await client.connect(tunnel, "127.0.0.1", port, timeout_s=60)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_slow_reader_gets_everything_and_holds_little_memory(loop: str, tmp_path: Path) -> None:
    sent = 0

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _number in range(64):
            writer.write(BIG[: 1024 * 1024])
            await writer.drain()
            sent += 1

    async def scenario() -> None:
        files = certificate_files(tmp_path, "127.0.0.1", "localhost")
        async with destination(talk) as port, socks5_server(files=files) as server:
            tunnel = await client.log_in(
                login(server.port, host="localhost", tls=trusting(files)), timeout_s=60
            )
            await client.connect(tunnel, "127.0.0.1", port, timeout_s=60)
            tunnel.transport.pause_reading()
            before = -1
            while before != sent:  # until nobody takes more
                before = sent
                await asyncio.sleep(0.3)
            assert sent < 32  # MiB: the kernel's buffers of two connections, and little of ours
            tunnel.transport.resume_reading()
            for _ in range(64):
                assert await tunnel.read(1024 * 1024) == BIG[: 1024 * 1024]
            tunnel.transport.abort()

    run_on(loop, scenario())


# ── the ends of connections ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tls", [False, True], ids=["clear text", "TLS"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_last_octets_of_a_destination_arrive_before_its_end(
    loop: str,
    tls: bool,
    tmp_path: Path,
) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BIG)

    async def scenario() -> None:
        files = certificate_files(tmp_path, "127.0.0.1", "localhost") if tls else None
        async with destination(talk) as port, socks5_server(files=files) as server:
            given = login(server.port, host="localhost", tls=trusting(files) if files else None)
            tunnel = await client.log_in(given, timeout_s=60)
            await client.connect(tunnel, "127.0.0.1", port, timeout_s=60)
            assert await tunnel.read(len(BIG)) == BIG
            with pytest.raises(ConnectionError):
                await tunnel.read(1)
            tunnel.transport.abort()

    run_on(loop, scenario())


async def test_a_destination_sees_the_end_of_a_client_and_never_octets_after_it() -> None:
    received = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        data = b""
        with suppress(OSError):
            while more := await reader.read(65_536):
                data += more
        received.set_result(data)

    async with destination(talk) as port, socks5_server() as server:
        tunnel = await client.log_in(login(server.port), timeout_s=60)
        await client.connect(tunnel, "127.0.0.1", port, timeout_s=60)
        tunnel.transport.write(b"DATA without its end")
        tunnel.transport.close()
        assert await received == b"DATA without its end"


async def test_a_stop_waits_for_connections_and_accepts_no_more() -> None:
    async with destination(echo) as port, socks5_server() as server:
        tunnel = await client.log_in(login(server.port), timeout_s=60)
        await client.connect(tunnel, "127.0.0.1", port, timeout_s=60)
        draining = asyncio.create_task(server.drain(60))
        await until_refused(server.port)
        tunnel.transport.write(b"still here")
        assert await tunnel.read(len(SOURCE) + 11) == f"{SOURCE}\nstill here".encode()
        tunnel.transport.close()
        await draining


async def until_refused(port: int) -> None:
    """Until the server listens no longer."""
    with suppress(ServerFailed):
        while True:
            (await client.log_in(login(port), timeout_s=60)).transport.abort()
