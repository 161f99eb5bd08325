"""The listener of links with TLS: a certificate for each host, two versions, and bad clients."""

import asyncio
import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import sleep

import pytest

from kernel.embedded.folder import free_port
from kernel.tls import HANDSHAKE_S
from tests.support.events import Running, ScenarioRunner, run_scenario
from tests.support.links import click_path
from tests.support.message_events import MessageEvents
from tests.support.tls import (
    await_end,
    certificate_files,
    client_context,
    client_hello,
    misbehave,
    shake_hands,
)

__all__ = ["run_scenario"]
URL = "https://shop.example/a"
ONE, TWO = "links.one.net", "links.two.net"
BRANDS = """
[default]
name = "One"
slug = "one"
sandbox_domain = "one-sandbox.net"
tracking_host = "links.one.net"

[two]
name = "Two"
slug = "two"
sandbox_domain = "two-sandbox.net"
tracking_host = "links.two.net"

[two.certificates."links.two.net"]
certificate = "{files.certificate}"
key = "{files.key}"
"""


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    own = certificate_files(tmp_path / "one", ONE)
    brands = tmp_path / "brands.toml"
    brands.write_text(BRANDS.format(files=certificate_files(tmp_path / "two", TWO)))
    return {
        "tracking_tls_listen": f"127.0.0.1:{free_port()}",
        "tracking_spool": str(tmp_path / "spool"),
        "tls_certificate": str(own.certificate),
        "tls_key": str(own.key),
        "brands_file": str(brands),
    }


def port_of(settings: dict[str, object]) -> int:
    return int(str(settings["tracking_tls_listen"]).rpartition(":")[2])


def request(host: str) -> bytes:
    path = click_path(MessageEvents(), URL)
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


@contextmanager
def connection(
    port: int, host: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[ssl.SSLSocket]:
    context = client_context(maximum=version)
    with (
        closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as sock,
        context.wrap_socket(sock, server_hostname=host) as tls,
    ):
        yield tls


def follow(port: int, host: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
    with connection(port, host, version) as tls:
        tls.sendall(request(host))
        answer = b"".join(iter(lambda: tls.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 302"), answer
    assert f"location: {URL}\r\n".encode() in answer
    return str(tls.version() or version.name)


def until_served(port: int) -> None:
    while True:
        try:
            shake_hands(port, ONE)
            return
        except OSError:
            sleep(0.05)


def until_refused(port: int) -> None:
    """A host of ours is named in TLS, and another one in the request. Until all hosts are known,
    none is refused."""
    answer = b""
    while not answer.startswith(b"HTTP/1.1 421"):
        sleep(0.05)
        with connection(port, TWO) as tls:
            tls.sendall(request("unknown.example"))
            answer = tls.recv(65_536)


def test_each_host_has_its_certificate_in_both_versions(
    run_scenario: ScenarioRunner, settings: dict[str, object]
) -> None:
    port = port_of(settings)

    def check() -> None:
        until_served(port)
        for host, names in ((ONE, [ONE]), (TWO, [TWO]), ("x.example", [ONE]), (None, [ONE])):
            assert shake_hands(port, host).names == names
        for version, expected in (
            (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
            (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ):
            context = client_context(maximum=version)
            found = shake_hands(port, TWO, context=context)
            assert (found.names, found.version, found.alpn) == ([TWO], expected, "http/1.1")
            for host in (ONE, TWO):
                follow(port, host, version)
        until_refused(port)

    async def scenario(_: Running) -> None:
        await asyncio.to_thread(check)

    run_scenario(scenario, **settings)


def bad_starts() -> list[bytes]:
    """What a client could send in place of a handshake, or before it goes away."""
    hello = client_hello()
    chance = random.Random(7)
    changed = []
    for _ in range(200):
        at = chance.randrange(len(hello))
        changed.append(hello[:at] + bytes([chance.randrange(256)]) + hello[at + 1 :])
    cuts = [hello[:at] for at in range(0, len(hello), 16)]
    plain = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70_000)]
    return [*plain, *cuts, *changed, chance.randbytes(5_000)]


# Of a name in the handshake that is no ASCII: OpenSSL's callback in Python reports it, and refuses.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_bad_clients_do_not_keep_others_from_being_served(
    run_scenario: ScenarioRunner, settings: dict[str, object]
) -> None:
    port = port_of(settings)

    def check() -> None:
        until_served(port)
        misbehave(port)
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for octets in bad_starts():
            with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as sock:
                with suppress(OSError):  # it has closed before
                    sock.sendall(octets)
                    sock.shutdown(socket.SHUT_WR)
                await_end(sock)
        for host in (ONE, TWO):
            follow(port, host)
        for one in silent:
            one.settimeout(HANDSHAKE_S * 6)
            assert one.recv(1) == b"", "the server closes what says nothing"
            one.close()

    async def scenario(_: Running) -> None:
        await asyncio.to_thread(check)

    run_scenario(scenario, **settings)
