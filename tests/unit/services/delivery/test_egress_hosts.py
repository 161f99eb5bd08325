"""Connections through egress hosts: the choice of a source and a destination, and failures."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast
from unittest.mock import Mock

import pytest

from kernel.errors import ConfigError
from services.delivery.app.egress_hosts import create_egress_hosts
from services.delivery.clients.smtp import egress_hosts
from services.delivery.clients.smtp.egress_hosts import EgressHostDialer, EgressHostFailed
from services.delivery.domain.attempt_result import MAIL, AttemptResult
from services.delivery.domain.egress_host import ADDRESS, TOKEN, UNREACHABLE
from services.delivery.settings import Settings
from tests.support.socks5 import TOKEN as RIGHT
from tests.support.socks5 import destination, socks5_server

IPV4, IPV6 = "127.0.0.9", "::1"
BOTH = (IPV4, IPV6)
LOST = AttemptResult(MAIL, problem="the connection was lost")


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_authorities_are_read_if_there_is_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than the rest of the wiring of delivery."""
    made = Mock(wraps=ssl.create_default_context)
    monkeypatch.setattr(ssl, "create_default_context", made)
    settings = SimpleNamespace(
        egress_tokens=(), egress_host_tls=True, egress_host_ca="", egress_host_timeout_s=1.0
    )
    create_egress_hosts(cast(Settings, settings))
    assert not made.called
    settings.egress_tokens = (RIGHT,)
    assert create_egress_hosts(cast(Settings, settings))._tls is not None
    settings.egress_tokens, settings.egress_host_ca = (), "/none.pem"
    with pytest.raises(ConfigError, match="DELIVERY_EGRESS_HOST_CA /none"):
        create_egress_hosts(cast(Settings, settings))


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 here\r\n")
    await reader.read()


async def test_the_destination_that_answers_is_used_from_the_source_of_its_family() -> None:
    hosts = EgressHostDialer(RIGHT, None)
    async with socks5_server() as server, destination(greet, IPV6) as port:
        with refusing_port() as closed:
            opened = await hosts.open(
                f"127.0.0.1:{server.port}", BOTH, [("127.0.0.1", closed), (IPV6, port)],
                timeout_s=60,
            )  # fmt: skip
            assert (opened.source, opened.destination) == (IPV6, IPV6)
            assert await opened.tunnel.read(10) == b"220 here\r\n"
            opened.tunnel.transport.abort()


async def test_if_no_destination_answers_the_error_is_theirs() -> None:
    hosts = EgressHostDialer(RIGHT, None)
    async with socks5_server() as server:
        with refusing_port() as closed:
            at = f"127.0.0.1:{server.port}"
            for destinations in ([(IPV6, closed)], [("127.0.0.1", closed), (IPV6, closed)]):
                with pytest.raises(OSError, match="Connection refused"):
                    await hosts.open(at, BOTH, destinations, timeout_s=60)
            with pytest.raises(OSError, match="family"):
                await hosts.open(at, (IPV4,), [(IPV6, closed)], timeout_s=60)


async def test_a_source_that_the_host_does_not_own_is_its_failure_though_the_other_is_refused() -> (
    None
):
    hosts = EgressHostDialer(RIGHT, None)
    async with socks5_server(addresses=(IPV4,)) as server:
        with refusing_port() as closed:
            destinations = [("127.0.0.1", closed), (IPV6, closed)]
            with pytest.raises(EgressHostFailed) as failed:
                await hosts.open(f"127.0.0.1:{server.port}", BOTH, destinations, timeout_s=60)
    assert failed.value.problem == ADDRESS
    assert failed.value.result.is_host_failure


async def test_a_host_that_has_just_failed_is_not_tried_again_but_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(egress_hosts, "FAILED_S", 3600.0)
    async with socks5_server(tokens=("of somebody else",)) as server:
        at, hosts = f"127.0.0.1:{server.port}", EgressHostDialer(RIGHT, None)
        with pytest.raises(EgressHostFailed):
            await hosts.open(at, (IPV4,), [("127.0.0.1", 25)], timeout_s=60)
    with pytest.raises(EgressHostFailed) as again:
        await hosts.open(at, (IPV4,), [("127.0.0.1", 25)], timeout_s=60)
    assert again.value.problem == TOKEN  # a login would now find nobody there
    assert await hosts.check(at, IPV4) == UNREACHABLE


async def test_without_a_token_nothing_is_sent_to_a_host() -> None:
    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        raise AssertionError(await reader.read())

    async with destination(talk) as port:
        assert await EgressHostDialer("", None).check(f"127.0.0.1:{port}", IPV4) == TOKEN


async def test_a_broken_connection_is_the_servers_while_the_host_lets_us_in() -> None:
    hosts = EgressHostDialer(RIGHT, None)
    async with socks5_server() as server:
        at = f"127.0.0.1:{server.port}"
        assert await hosts.confirm(LOST, host=at, sources=(IPV4,)) is LOST
    confirmed = await hosts.confirm(LOST, host=at, sources=(IPV4,))
    assert confirmed.is_host_failure
    assert IPV4 in confirmed.problem
    assert at not in confirmed.problem  # customers see it
