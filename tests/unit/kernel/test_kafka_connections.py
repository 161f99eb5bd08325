"""Connections to a broker that is gone."""

import asyncio
import hashlib
import socket
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection, ScramAuthenticator
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError
from aiokafka.protocol.admin import SaslHandShakeRequest

import kernel.kafka
from kernel.kafka import connections


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
        connection = AIOKafkaConnection(host, port, request_timeout_ms=100)
        _, connection._writer = await asyncio.open_connection(host, port)
        connection._writer.transport.abort()
        await asyncio.sleep(0.01)
        with pytest.raises((KafkaConnectionError, TimeoutError)):
            await connection.send(Request())
        server.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_breaks_if_its_broker_vanishes(
    monkeypatch: pytest.MonkeyPatch, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def greet(_: AIOKafkaConnection) -> None:
        pass

    monkeypatch.setattr(AIOKafkaConnection, "_do_version_lookup", greet)

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            connection = AIOKafkaConnection(*server.getsockname())
            _, writer = await connection.connect()
            option = writer.get_extra_info("socket").getsockopt
            assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
                assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            await connection.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())


async def test_a_broker_that_does_not_greet_is_left_at_once_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its requests may take longer."""
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = AIOKafkaConnection(*silent.getsockname(), request_timeout_ms=600_000)
        with pytest.raises(TimeoutError):
            await connection.connect()
    assert not connection.connected()


async def test_a_server_that_does_not_know_the_password_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program on the port of a broker that is down: it cannot sign as SCRAM demands."""
    assert kernel.kafka
    connection = AIOKafkaConnection(
        "127.0.0.1", 1, sasl_mechanism="SCRAM-SHA-256", security_protocol="SASL_PLAINTEXT",
        sasl_plain_username="obm", sasl_plain_password="secret", request_timeout_ms=1_000,
    )  # fmt: skip

    class Handshake:
        API_VERSION, error_code, enabled_mechanisms = 1, 0, ("SCRAM-SHA-256",)

    class Answer:
        error_code, error_message = 0, ""

        def __init__(self, octets: bytes) -> None:
            self.sasl_auth_bytes = octets

    sent: list[bytes] = []

    async def answer(request: Any) -> Any:  # noqa: ANN401 - aiokafka has no types
        if isinstance(request, SaslHandShakeRequest):
            return Handshake()
        sent.append(request._payload)
        nonce = sent[0].rpartition(b"r=")[2]
        first = b"r=" + nonce + b"more,s=" + b64encode(b"salt") + b",i=4096"
        return Answer(first if len(sent) == 1 else b"v=" + b64encode(b"a guess"))

    monkeypatch.setattr(connection, "send", answer)
    with pytest.raises(AuthenticationFailedError, match="does not know the password"):
        await connection._do_sasl_handshake()
    assert len(sent) == 2
    assert not any(b"secret" in octets for octets in sent)


def test_the_key_of_a_password_is_derived_once_for_all_connections() -> None:
    """A service opens dozens when it starts."""
    before = connections._derive_key.cache_info().misses
    for salt in (b"one", b"one", b"two"):
        found = ScramAuthenticator(
            loop=None, sasl_plain_username="obm", sasl_plain_password="password of this test",
            sasl_mechanism="SCRAM-SHA-256",
        )  # fmt: skip
        found.create_salted_password(salt, 4096)
        wanted = hashlib.pbkdf2_hmac("sha256", b"password of this test", salt, 4096)
        assert found._salted_password == wanted
    assert connections._derive_key.cache_info().misses == before + 2
