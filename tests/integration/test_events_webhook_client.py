"""Requests to hostile endpoints, on loopback and without a running service."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kernel import clock
from mail.reachable import parse_networks
from services.events.clients import WebhookClient
from services.events.domain.schedule import EndpointResponse
from tests.support.receiver import Receiver, receiving, respond_with

LOOPBACK = parse_networks(["127.0.0.0/8", "::1/128"])
Scenario = Callable[[WebhookClient, Receiver], Awaitable[None]]


def run_scenario(scenario: Scenario, *, allowed: tuple = LOOPBACK, timeout_s: float = 1.0) -> None:  # type: ignore[type-arg]
    async def main() -> None:
        client = WebhookClient(allowed, timeout_s=timeout_s)
        try:
            async with asyncio.timeout(240), receiving() as receiver:
                await scenario(client, receiver)
        finally:
            await client.close()

    asyncio.run(main())


async def post(client: WebhookClient, url: str) -> EndpointResponse:
    return await client.post(url, b"{}", headers={"webhook-id": "evt_1"}, user_agent="OBM")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_loopback_is_not_called_by_any_name(host: str, scheme: str) -> None:
    async def scenario(client: WebhookClient, receiver: Receiver) -> None:
        port = receiver.url.rpartition(":")[2]
        response = await post(client, f"{scheme}://{host}:{port}/")
        assert (response.status, response.is_success) == (0, False)
        assert receiver.received == []

    run_scenario(scenario, allowed=())


def test_an_allowed_network_is_called_by_name_and_by_address() -> None:
    async def scenario(client: WebhookClient, receiver: Receiver) -> None:
        port = receiver.url.rpartition(":")[2]
        for host in ("localhost", "127.0.0.1"):
            assert (await post(client, f"http://{host}:{port}/")).is_success
        assert receiver.received[0].headers["user-agent"].startswith("OBM-Webhooks")
        assert receiver.received[0].headers["content-type"] == "application/json"

    run_scenario(scenario)


def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    async def scenario(client: WebhookClient, receiver: Receiver) -> None:
        where = {"location": f"{receiver.url}/secret"}
        receiver.behaviors["/"] = respond_with(307, headers=where)
        response = await post(client, receiver.url + "/")
        assert (response.status, response.is_success) == (307, False)
        assert receiver.at("/secret") == []

    run_scenario(scenario)


def test_a_timeout_is_a_failure() -> None:
    async def scenario(client: WebhookClient, receiver: Receiver) -> None:
        async def hang(_: web.Request) -> web.Response:
            await asyncio.sleep(10)
            return web.Response()

        receiver.behaviors["/"] = hang
        assert (await post(client, receiver.url + "/")).error == "no response in time"

    run_scenario(scenario, timeout_s=0.3)


def test_a_huge_body_is_not_read_completely() -> None:
    async def scenario(client: WebhookClient, receiver: Receiver) -> None:
        sent = 0

        async def flood(request: web.Request) -> web.StreamResponse:
            nonlocal sent
            response = web.StreamResponse()
            await response.prepare(request)
            while sent < 100_000_000:
                await response.write(b"x" * 65_536)
                sent += 65_536
            return response

        receiver.behaviors["/"] = flood
        assert (await post(client, receiver.url + "/")).is_success
        await asyncio.sleep(0.1)
        assert sent < 50_000_000

    run_scenario(scenario, timeout_s=5)


def test_a_slow_body_is_read_for_at_most_two_seconds() -> None:
    async def scenario(client: WebhookClient, receiver: Receiver) -> None:
        async def drip(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(100):
                await response.write(b".")
                await asyncio.sleep(0.2)
            return response

        receiver.behaviors["/"] = drip
        began = clock.monotonic_s()
        assert (await post(client, receiver.url + "/")).is_success
        assert clock.monotonic_s() - began < 12  # the whole takes 20 s

    run_scenario(scenario, timeout_s=15)


def test_retry_after_is_returned_and_the_error_is_limited() -> None:
    async def scenario(client: WebhookClient, receiver: Receiver) -> None:
        async def busy(_: web.Request) -> web.Response:
            text = "come\x00 later " * 200
            return web.Response(status=429, text=text, headers={"retry-after": "90"})

        receiver.behaviors["/"] = busy
        response = await post(client, receiver.url + "/")
        assert response.retry_after_s == 90
        assert response.error.startswith("HTTP 429 come  later")
        assert len(response.error) <= 500

    run_scenario(scenario)


def test_a_closed_idle_connection_is_not_a_failure() -> None:
    async def scenario(client: WebhookClient, receiver: Receiver) -> None:
        async def close(request: web.Request) -> web.Response:
            assert request.transport is not None
            asyncio.get_running_loop().call_later(0.05, request.transport.close)
            return web.Response()

        receiver.behaviors["/"] = close
        for _ in range(3):
            assert (await post(client, receiver.url + "/")).is_success
            await asyncio.sleep(0.1)

    run_scenario(scenario)


def test_a_failed_connection_is_a_failure_with_a_reason() -> None:
    async def scenario(client: WebhookClient, _: Receiver) -> None:
        for url in ("http://127.0.0.1:1/", "http://nowhere.invalid/", "https://127.0.0.1:1/"):
            response = await post(client, url)
            assert (response.status, response.is_success) == (0, False)
            assert response.error

    run_scenario(scenario)


@asynccontextmanager
async def raw_server(*responses: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that sends these bytes to the first request of a connection, and closes."""
    left = list(responses)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"{}")
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut off", 200),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno", 500),
        (b"", 0),
        (b"SSH-2.0-OpenSSH_9.9\r\n", 0),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, 0),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 0),
    ],
)
def test_the_status_decides_whatever_the_form_of_the_response(response: bytes, status: int) -> None:
    async def scenario(client: WebhookClient, _: Receiver) -> None:
        async with raw_server(response) as url:
            found = await post(client, url)
            assert (found.status, found.is_success) == (status, 200 <= status < 300)

    run_scenario(scenario)


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Self-signed, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "endpoint")])
    now = clock.now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, context = certificate(tmp_path)

    async def scenario(client: WebhookClient, _: Receiver) -> None:
        async with raw_server(b"HTTP/1.1 204 No Content\r\n\r\n", tls=context) as url:
            responses.append(await post(client, url))

    responses: list[EndpointResponse] = []
    run_scenario(scenario)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    run_scenario(scenario)
    assert "certificate verify failed" in responses[0].error
    assert responses[1] == EndpointResponse(204)
