"""The memory that a client of a gRPC listener can occupy is bounded, and zero without a key."""

import asyncio
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from contracts.ingest.v1 import email_service_pb2 as pb
from tests.support.grpc_servers import CONNECTIONS_MAX, grpc_servers
from tests.support.half_sent import HalfSent

TEXT = pb.Email(text="\0" * (48 * 1024 * 1024))  # 48 KB compressed
LARGE = pb.SendEmailRequest(email=TEXT).SerializeToString()
CALLS = 4
GROWTH_MAX = 100 * 1024 * 1024  # of 576 MB sent
SEND = "/contracts.ingest.v1.EmailService/SendEmail"
GET = "/contracts.ingest.v1.EmailService/GetEmail"
ID = pb.GetEmailRequest(id="01890000-0000-7000-8000-000000000000").SerializeToString()
LIST = "/contracts.events.v1.EventsService/ListEmails"
HEALTH = "/grpc.health.v1.Health/Check"
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED}


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
def test_large_messages_without_a_key_take_no_memory(compression: grpc.Compression) -> None:
    with grpc_servers() as (pid, public, internal):
        before = peak(pid)
        for port, method in ((public, SEND), (internal, LIST)):
            assert asyncio.run(attack(port, method, compression)) <= REFUSED
        asyncio.run(attack(public, HEALTH, compression))
        assert peak(pid) - before < GROWTH_MAX


def test_connections_beyond_the_limit_are_closed() -> None:
    async def scenario(port: int) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as first:
            assert await call(first, SEND, b"") == grpc.StatusCode.UNAUTHENTICATED
            idle = [
                await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)
            ]
            refused, late = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(240):
                assert await refused.read() == b""
            assert await call(first, SEND, b"") == grpc.StatusCode.UNAUTHENTICATED
            for writer in (late, *(one for _, one in idle)):
                writer.close()
                await writer.wait_closed()

    with grpc_servers() as (_, public, _internal):
        asyncio.run(scenario(public))


def test_half_sent_calls_take_a_bounded_part_of_the_memory() -> None:
    async def scenario(port: int) -> None:
        attacker = HalfSent(*await asyncio.open_connection("127.0.0.1", port))
        listening = asyncio.create_task(attacker.listen())
        try:
            async with asyncio.timeout(240):
                attacker.call(SEND, "one", calls=16, declared=50_000_000)
                await attacker.send(6_000_000)  # which may arrive before a busy server refuses
                while len(attacker.ended) < 15:  # a quarter of the memory has room for one
                    await asyncio.sleep(0.05)
                await attacker.send(26_000_000)
            assert await served(port, "another") == grpc.StatusCode.NOT_FOUND
            assert await served(port, "one") == grpc.StatusCode.NOT_FOUND
        finally:
            listening.cancel()

    with grpc_servers() as (pid, public, _internal):
        before = peak(pid)
        asyncio.run(scenario(public))
        assert peak(pid) - before < 256 * 1024 * 1024  # of 512 MB


async def served(port: int, key: str) -> grpc.StatusCode:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        return await call(channel, GET, ID, key=key)


async def attack(port: int, method: str, compression: grpc.Compression) -> set[grpc.StatusCode]:
    """Send this many calls at once, each on its own connection. Returns the responses."""

    async def one() -> grpc.StatusCode:
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=OPTIONS, compression=compression
        ) as channel:
            return await call(channel, method, LARGE)

    return set(await asyncio.gather(*(one() for _ in range(CALLS))))


async def call(
    channel: grpc.aio.Channel, method: str, message: bytes, *, key: str = ""
) -> grpc.StatusCode:
    metadata = [("authorization", key)] if key else []
    try:
        await cast(Any, channel.unary_unary(method))(message, timeout=120, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def peak(pid: int) -> int:
    """Peak memory of the process, in octets."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
