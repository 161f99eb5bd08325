"""The policy hosts of domains with MTA-STS, on loopback, and their DNS records."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from mail import mta_sts
from tests.support.authority import Certified


def policy_text(*mx: str, mode: str = "enforce", max_age_s: int = 86_400) -> bytes:
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {one}" for one in mx)]
    return "\r\n".join([*lines, f"max_age: {max_age_s}", ""]).encode()


def response(body: bytes, *, status: str = "200 OK", fields: str = "") -> bytes:
    fields = fields or "Content-Type: text/plain\r\n"
    return f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class PolicyServer:
    """responses: by domain; None for a host that never responds. requested: domains, in order."""

    responses: dict[str, bytes | None]
    requested: list[str] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert request.startswith("GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
            host = request.partition("Host: ")[2].partition("\r\n")[0].partition(":")[0]
            domain = host.removeprefix("mta-sts.")
            self.requested.append(domain)
            answer = self.responses.get(domain, response(b"", status="404 Not Found"))
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def policy_server(
    responses: dict[str, bytes | None],
    authority: Certified,
    domains: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[PolicyServer]:
    """domains: whose policy hosts have a valid certificate."""
    made = PolicyServer(responses)
    context: ssl.SSLContext = authority.server(*(f"mta-sts.{one}" for one in domains)).context()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    path = "/.well-known/mta-sts.txt"
    with monkeypatch.context() as patch:
        patch.setattr(
            mta_sts, "policy_url", lambda domain: f"https://mta-sts.{domain}:{made.port}{path}"
        )
        async with server:
            yield made
