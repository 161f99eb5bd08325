"""Attachments by path: hostile servers, and the API."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kernel.addresses import AddressResolver
from kernel.downloads import DownloadedFile, Downloader, DownloadFailed
from mail.reachable import address_policy, parse_networks
from tests.integration.test_events_webhook_client import certificate
from tests.support.ingest import IngestHarness
from tests.support.stack import FreshDatabase

LOOPBACK = parse_networks(["127.0.0.0/8"])
OK = b"HTTP/1.1 200 OK\r\n"
Serve = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(
    response: bytes | Serve, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server's port, and the requests that it received."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(response, bytes):
                writer.write(response)
                await writer.drain()
            else:
                await response(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], requests


async def get(url: str, *, allowed: Any = LOOPBACK, octets_max: int = 1000) -> DownloadedFile:  # noqa: ANN401
    downloads = Downloader(AddressResolver(address_policy(allowed)))
    try:
        async with asyncio.timeout(240):
            return await downloads.get(url, octets_max=octets_max, user_agent="OBM")
    finally:
        await downloads.close()


def fetched_file(response: bytes | Serve, **more: Any) -> DownloadedFile:  # noqa: ANN401
    async def scenario() -> DownloadedFile:
        async with serving(response) as (port, requests):
            file = await get(f"http://127.0.0.1:{port}/a%20b.pdf?x=1", **more)
            [request] = requests
            assert request.startswith(b"GET /a%20b.pdf?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
            assert b"\r\nAccept-Encoding: identity\r\n" in request
            return file

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"Content-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello and more",
    ],
)
def test_a_file_is_downloaded_with_its_type_and_disposition(body: bytes) -> None:
    fields = b'Content-Type: text/plain\r\nContent-Disposition: attachment; filename="a"\r\n'
    assert fetched_file(OK + fields + body) == DownloadedFile(
        b"hello", "text/plain", 'attachment; filename="a"'
    )
    assert fetched_file(b"HTTP/1.1 103 Early Hints\r\nContent-Type: x\r\n\r\n" + OK + body).content


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", "302. Redirects are not"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "returned 404.$"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx", "returned 206"),
        (OK + b"Content-Length: 99999999999999999999\r\n\r\nx", "larger than the 1000|not HTTP"),
        (OK + b"Content-Length: 1001\r\n\r\nx", "larger than the 1000"),
        (OK + b"\r\n" + b"x" * 1001, "larger than the 1000"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "compressed"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "compressed"),
        (OK + b"Content-Length: 9\r\n\r\ncut off", "closed before the end"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\ncut", "closed before the end"),
        (OK + b"X: " + b"x" * 200_000, "too long|not HTTP"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP"),
        (b"", "closed before the end"),
    ],
)  # fmt: skip
def test_an_unusable_response_is_refused_with_a_reason(response: bytes, why: str) -> None:
    with pytest.raises(DownloadFailed, match=why):
        fetched_file(response)


def test_an_endless_body_is_aborted_at_the_limit() -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    with pytest.raises(DownloadFailed, match="larger than the 100000 octets"):
        fetched_file(flood, octets_max=100_000)


async def test_the_connection_is_closed_when_the_download_is_canceled() -> None:
    gone = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        with suppress(OSError):
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0)
        gone.set()

    async with serving(drip) as (port, requests):
        task = asyncio.create_task(get(f"http://127.0.0.1:{port}/", octets_max=10**9))
        while not requests:
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        async with asyncio.timeout(240):
            await gone.wait()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_private_address_is_refused_under_any_name(scheme: str, host: str) -> None:
    async with serving(OK + b"\r\n") as (port, requests):
        with pytest.raises(DownloadFailed, match="cannot be reached"):
            await get(f"{scheme}://{host}:{port}/", allowed=())
        assert requests == []


async def test_the_certificate_must_match_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, context = certificate(tmp_path)  # of 127.0.0.1
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    async with serving(OK + b"\r\nhello", tls=context) as (port, requests):
        with pytest.raises(DownloadFailed, match="certificate"):
            await get(f"https://localhost:{port}/")
        assert (await get(f"https://127.0.0.1:{port}/")).content == b"hello"
        assert len(requests) == 1


async def test_a_repeat_fetches_nothing_and_a_missing_file_refuses_the_email(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> None:
    extra = {"attachment_fetch": True, "attachment_fetch_allowed_networks": ["127.0.0.0/8"]}
    harness = IngestHarness(bootstrap_servers, topic_prefix, database, tmp_path, extra=extra)

    await harness.sign_up()
    async with (
        harness.running(),
        serving(OK + b"\r\n%PDF") as (port, requests),
        serving(b"HTTP/1.1 404 Not Found\r\n\r\n") as (nowhere, _),
    ):
        key = {"Idempotency-Key": "invoice-42"}
        fetch_policy = [{"path": f"http://127.0.0.1:{port}/invoice.pdf"}]
        first = await harness.send(attachments=fetch_policy, http_headers=key)
        again = await harness.send(attachments=fetch_policy, http_headers=key)
        assert (first.status, again.status, again.json) == (202, 202, first.json)
        assert again.headers["idempotent-replayed"] == "true"
        other = [{"path": f"http://127.0.0.1:{port}/other.pdf"}]
        assert (await harness.send(attachments=other, http_headers=key)).status == 409
        assert len(requests) == 1

        missing = [{"path": f"http://127.0.0.1:{nowhere}/"}]
        refused = await harness.send(attachments=missing, http_headers={"Idempotency-Key": "b"})
        assert (refused.status, refused.json["name"]) == (422, "invalid_attachment")
        assert refused.json["message"] == "attachments[0].path: The server returned 404."
        [accepted] = await harness.accepted(first.json["id"])
        assert accepted.context.content_bytes > 0
