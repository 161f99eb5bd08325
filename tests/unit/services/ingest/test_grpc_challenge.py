"""A challenge to a host that serves gRPC alone: ours, a stranger's, cut and hostile answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from kernel.host_challenge import GRPC_METHOD, METADATA, HostChallenges, new_challenge
from services.ingest.api.grpc.host_challenge import host_challenge_handler
from services.ingest.clients.grpc_challenge import call, is_ended, response_in
from services.ingest.clients.host_prober import ELSEWHERE, HostProber
from tests.support.authority import Certified
from tests.support.tls import certificate_files

KEYS = ["first key", "second key"]
CHALLENGE = new_challenge()
PROOF = HostChallenges(KEYS).response_to(CHALLENGE)
MESSAGE = StringValue(value=PROOF).SerializeToString()


def frame(kind: int, flags: int, payload: bytes, *, stream: int = 1) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def enveloped(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


ANSWER = b"".join(
    (
        frame(4, 0, b"", stream=0), frame(1, 4, b"\x88"), frame(0, 0, enveloped(MESSAGE)[:9]),
        frame(0, 8, b"\2" + enveloped(MESSAGE)[9:] + bytes(2)), frame(1, 5, b"\x88"),
    )
)  # fmt: skip


@asynccontextmanager
async def grpc_server(
    challenges: HostChallenges | None, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[int]:
    """The port."""
    server = grpc.aio.server()
    if challenges is not None:
        server.add_generic_rpc_handlers((host_challenge_handler(challenges),))
    address = "localhost:0"
    port = (
        server.add_secure_port(address, credentials)
        if credentials
        else server.add_insecure_port(address)
    )
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def trusting(root: Certified) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=root.der)
    return context


@pytest.mark.parametrize(
    ("name", "keys", "problem"),
    [
        ("localhost", KEYS, ""),
        ("localhost", KEYS[::-1], ""),  # during a rotation of keys
        ("localhost", ["other key"], ELSEWHERE),
        ("localhost", [], ELSEWHERE),  # a gRPC server without this method
        ("other.example", KEYS, "not valid"),
    ],
)
async def test_a_grpc_server_alone_is_ours_or_not(
    tmp_path: Path, name: str, keys: list[str], problem: str
) -> None:
    root = Certified.root("root")
    files = certificate_files(tmp_path, name, issuer=root)
    pair = (Path(files.key).read_bytes(), Path(files.certificate).read_bytes())
    challenges = HostChallenges(keys) if keys else None
    async with grpc_server(challenges, grpc.ssl_server_credentials([pair])) as port:
        prober = HostProber(HostChallenges(KEYS), lambda: trusting(root), port=port)
        found = await prober.look("localhost")
    assert found.problem is not None
    assert problem in found.problem
    assert bool(found.problem) == bool(problem)
    assert (found.days_left > 0) == ("not valid" not in problem)


async def test_a_call_to_a_host_with_a_long_name_is_read_by_others() -> None:
    for host in ("a.example", "a" * 126, "b" * 127, "c" * 253):
        async with grpc_server(HostChallenges(KEYS)) as port:
            reader, writer = await asyncio.open_connection("localhost", port)
            writer.write(call(host, CHALLENGE))
            received = b""
            while not is_ended(received):
                received += await reader.read(4096)
            writer.close()
        assert response_in(received) == PROOF


async def test_what_is_no_challenge_is_refused() -> None:
    async with (
        grpc_server(HostChallenges(KEYS)) as port,
        grpc.aio.insecure_channel(f"localhost:{port}") as channel,
    ):
        respond: Any = channel.unary_unary(GRPC_METHOD)
        assert PROOF.encode() in await respond(b"", metadata=((METADATA, CHALLENGE),))
        for metadata in ((), ((METADATA, CHALLENGE[:-1]),), ((METADATA, "x" * 32),)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await respond(b"", metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_answer_in_pieces_with_padding_is_read() -> None:
    assert response_in(ANSWER) == PROOF
    assert is_ended(ANSWER)
    other = frame(0, 0, enveloped(MESSAGE), stream=3)
    assert response_in(other) == ""
    assert not is_ended(frame(0, 1, b"", stream=3))
    assert is_ended(frame(7, 0, bytes(8), stream=0))
    assert response_in(frame(0, 1, b"\1" + enveloped(MESSAGE)[1:])) == ""  # compressed


def test_an_answer_that_is_cut_is_none() -> None:
    data_end = len(ANSWER) - len(frame(1, 5, b"\x88"))
    for end in range(data_end):
        assert response_in(ANSWER[:end]) == ""
        assert not is_ended(ANSWER[:end])


@given(st.binary(max_size=200), st.integers(0, len(ANSWER)), st.binary(max_size=4))
def test_octets_of_a_stranger_are_no_response(noise: bytes, at: int, changed: bytes) -> None:
    is_ended(noise)
    assert response_in(noise) != PROOF
    altered = ANSWER[:at] + changed + ANSWER[at + len(changed) :]
    is_ended(altered)
    response_in(altered)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 404 Not Found\r\n\r\n", ANSWER[:40]])
async def test_a_tls_server_that_answers_otherwise_is_another(tmp_path: Path, sent: bytes) -> None:
    root = Certified.root("root")
    files = certificate_files(tmp_path, "localhost", issuer=root)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files.certificate, files.key)
    tls.set_alpn_protocols(["h2", "http/1.1"])

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read(4096)
            writer.write(sent)
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(converse, "localhost", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    prober = HostProber(HostChallenges(KEYS), lambda: trusting(root), port=port)
    found = await prober.look("localhost")
    server.close()
    assert found.problem == ELSEWHERE
