"""REST, gRPC and submission with TLS: versions, certificates by host, replaced certificates,
strangers."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiohttp
import grpc
import grpc.aio
import pytest

from contracts.ingest.v1 import email_service_pb2 as pb
from contracts.ingest.v1.email_service_pb2_grpc import EmailServiceStub
from kernel import http_server as server
from kernel.host_challenge import HostChallenges
from services.ingest.clients.host_prober import ELSEWHERE, HostProber
from tests.support.authority import Certified
from tests.support.ingest import DOMAIN, IngestHarness, email
from tests.support.stack import harness_fixture
from tests.support.tls import (
    Handshake,
    await_end,
    certificate_files,
    client_context,
    client_hello,
    handshake_of,
    misbehave,
    shake_hands,
)

harness = harness_fixture(IngestHarness, scope="function")
T = TypeVar("T")
BRANDS = """
[acme]
name = "Acme Mail"
slug = "acme"
sandbox_domain = "acme-sandbox.example"
api_hosts = ["api.acme.test"]

[acme.certificates."api.acme.test"]
certificate = "{folder}/acme/certificate.pem"
key = "{folder}/acme/key.pem"
"""


async def in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def serve_tls(harness: IngestHarness, **settings: object) -> None:
    harness.serve_submission()
    certificate_files(harness.folder / "acme", "api.acme.test")
    brands = harness.folder / "brands.toml"
    brands.write_text(BRANDS.format(folder=harness.folder))
    harness.extra |= {
        "brands_file": str(brands),
        "http_tls_listen": f"127.0.0.1:{harness.ports.ingest_http_tls}",
        "grpc_tls_listen": f"127.0.0.1:{harness.ports.ingest_grpc_tls}",
        **settings,
    }


def ports_of(harness: IngestHarness) -> dict[str, int]:
    ports = harness.ports
    return {
        "http/1.1": ports.ingest_http_tls,
        "h2": ports.ingest_grpc_tls,
        "smtp": ports.submission_tls,
    }


def starttls(port: int, host: str) -> Handshake:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        file = sock.makefile("rb")
        file.readline()
        sock.sendall(b"EHLO client.test\r\n")
        while file.readline()[3:4] == b"-":
            pass
        sock.sendall(b"STARTTLS\r\n")
        assert file.readline().startswith(b"220")
        with client_context().wrap_socket(sock, server_hostname=host) as tls:
            return handshake_of(tls)


async def test_mail_is_accepted_by_rest_and_grpc_with_a_verified_certificate(
    harness: IngestHarness,
) -> None:
    serve_tls(harness)
    trusted = Path(harness.extra["tls_certificate"])
    async with harness.running():
        await harness.sign_up()
        context = ssl.create_default_context(cafile=str(trusted))
        authorization = {"Authorization": f"Bearer {harness.key}"}
        async with aiohttp.ClientSession(headers=authorization) as http:
            url = f"https://localhost:{harness.ports.ingest_http_tls}/v1/emails"
            for _ in range(2):
                async with http.post(url, json=email(), ssl=context) as response:
                    assert response.status == 202, await response.text()
        credentials = grpc.ssl_channel_credentials(trusted.read_bytes())
        address = f"localhost:{harness.ports.ingest_grpc_tls}"
        async with grpc.aio.secure_channel(address, credentials) as channel:
            mail = pb.Email(to=["b@one.example"], subject="Hi", text="Hello")
            setattr(mail, "from", f"a@{DOMAIN}")
            sent = await EmailServiceStub(channel).SendEmail(
                pb.SendEmailRequest(email=mail),
                metadata=(("authorization", f"Bearer {harness.key}"),),
            )
        assert sent.id
        assert (await harness.request("GET", "/v1/domains")).status == 200  # the plain listener


async def test_a_host_of_either_api_alone_proves_that_it_leads_here(harness: IngestHarness) -> None:
    serve_tls(harness)
    trusted, ports = harness.extra["tls_certificate"], harness.ports
    for keys, ours in (([harness.secret_key], True), (["of another installation"], False)):
        async with harness.running():
            for port in (ports.ingest_http_tls, ports.ingest_grpc_tls):
                verifier = HostProber(
                    HostChallenges(keys),
                    partial(ssl.create_default_context, cafile=trusted),
                    port=port,
                )
                found = await verifier.look("localhost")
                assert found.problem == ("" if ours else ELSEWHERE)
                assert found.days_left > 0


async def test_each_listener_has_its_versions_and_protocol(harness: IngestHarness) -> None:
    serve_tls(harness)
    old = ssl.TLSVersion.TLSv1_2
    async with harness.running():
        for protocol, port in ports_of(harness).items():
            if protocol == "smtp":
                shaken = await in_thread(
                    lambda: shake_hands(
                        harness.ports.submission_tls, context=client_context(maximum=old)
                    )
                )
                assert shaken.version == "TLSv1.2"
                continue
            context = client_context(alpn=protocol)
            shaken = await in_thread(lambda p=port, c=context: shake_hands(p, context=c))  # type: ignore[misc]
            assert (shaken.version, shaken.alpn) == ("TLSv1.3", protocol)
        with pytest.raises(ssl.SSLError):
            await in_thread(
                lambda: shake_hands(
                    harness.ports.ingest_http_tls, context=client_context(maximum=old)
                )
            )


async def test_tls_1_2_is_allowed_by_a_setting(harness: IngestHarness) -> None:
    serve_tls(harness, tls_version_min="1.2")
    context = client_context(maximum=ssl.TLSVersion.TLSv1_2)
    async with harness.running():
        shaken = await in_thread(
            lambda: shake_hands(harness.ports.ingest_http_tls, context=context)
        )
        assert (shaken.version, shaken.alpn) == ("TLSv1.2", "http/1.1")


async def test_a_brands_host_has_its_certificate_on_every_listener(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after it was replaced, without a restart."""
    monkeypatch.setattr("kernel.tls.CHECK_INTERVAL_S", 0.05)
    serve_tls(harness)

    def served(host: str) -> list[list[str]]:
        found = [
            shake_hands(port, host, context=client_context(alpn=protocol)).names
            for protocol, port in ports_of(harness).items()
        ]
        return [*found, starttls(harness.ports.submission, host).names]

    async with harness.running():
        assert await in_thread(lambda: served("api.acme.test")) == [["api.acme.test"]] * 4
        assert await in_thread(lambda: served("other.test")) == [["localhost"]] * 4

        names = ["api.acme.test", "new.acme.test"]
        certificate_files(harness.folder / "acme", *names)
        certificate_files(harness.folder, "localhost", "new.test", issuer=Certified.root("new"))
        async with asyncio.timeout(30):
            while await in_thread(lambda: served("api.acme.test")) != [names] * 4:
                await asyncio.sleep(0.05)
            while await in_thread(lambda: served("localhost")) != [["localhost", "new.test"]] * 4:
                await asyncio.sleep(0.05)


async def test_strangers_at_the_tls_ports_are_bounded_and_leave_nothing_in_the_log(
    harness: IngestHarness,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S", 1.0)
    serve_tls(harness, http_connections_max=5)
    async with harness.running():
        caplog.clear()
        caplog.set_level(logging.INFO)
        await in_thread(lambda: fill_the_port(harness.ports.ingest_http_tls))
        for port in ports_of(harness).values():
            await in_thread(lambda port=port: misbehave(port))  # type: ignore[misc]
        for protocol, port in ports_of(harness).items():
            context = client_context(alpn=protocol)
            await in_thread(lambda p=port, c=context: shake_hands(p, context=c))  # type: ignore[misc]
    others = ("kafka", "faststream")
    logged = [one for one in caplog.records if not any(name in one.name for name in others)]
    assert [one for one in logged if one.levelno >= logging.WARNING] == []
    assert "Traceback" not in capfd.readouterr().err


def fill_the_port(port: int) -> None:
    """All of its five connections begin a handshake, and do not end it."""
    silent = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(5)]
    silent[0].sendall(client_hello()[:50])
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as surplus:
        assert surplus.recv(1) == b""
    began = time.monotonic()
    for sock in silent:
        await_end(sock)
    assert time.monotonic() - began < 10
