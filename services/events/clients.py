"""Other people's webhook endpoints. Resolve, filter, and connect to what was filtered."""

import asyncio
import socket
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from kernel import clock
from services.events.domain.endpoint import Network, canonical, may_call
from services.events.domain.schedule import Answer, retry_after_s

BODY_BYTES_MAX = 64 * 1024
BODY_WITHIN_S = 2.0
ERROR_MAX = 500
USER_AGENT = "OBM-Webhooks/1"
DNS_TTL_S = 30


class Refused(OSError):
    """The address may not be called."""


class FilteringResolver(AbstractResolver):
    """What it answers is what the connector connects to: no second lookup, no rebinding."""

    def __init__(self, allowed: Sequence[Network], *, plain: bool) -> None:
        self._resolver = ThreadedResolver()
        self._allowed = tuple(allowed)
        self._plain = plain

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        good = [one for one in found if self.allows(one["host"])]
        if found and not good:
            raise Refused("the address is private")
        return good

    def allows(self, address: str) -> bool:
        return may_call(address, self._allowed, plain=self._plain)

    async def close(self) -> None:
        await self._resolver.close()


class Caller:
    """POSTs, over kept connections. Build it inside the running loop."""

    def __init__(self, allowed: Sequence[Network], *, timeout_s: float) -> None:
        self._sessions = {
            scheme: self._session(FilteringResolver(allowed, plain=scheme == "http"), timeout_s)
            for scheme in ("http", "https")
        }

    @staticmethod
    def _session(
        resolver: FilteringResolver, timeout_s: float
    ) -> tuple[aiohttp.ClientSession, FilteringResolver]:
        connector = aiohttp.TCPConnector(resolver=resolver, limit=0, ttl_dns_cache=DNS_TTL_S)
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=timeout_s, connect=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": USER_AGENT, "content-type": "application/json"},
            auto_decompress=False,
            max_line_size=16_384,
        )
        return session, resolver

    async def post(self, url: str, body: bytes, *, headers: dict[str, str]) -> Answer:
        """Never raises for what an endpoint does. A kept connection that the endpoint has just
        closed is no failure of its: the same call is made once more, with the same id."""
        session, resolver = self._sessions[url.partition(":")[0].lower()]
        if problem := self._literal_problem(url, resolver):
            return Answer(0, problem)
        try:
            try:
                return await self._try(session, url, body=body, headers=headers)
            except aiohttp.ServerDisconnectedError:
                return await self._try(session, url, body=body, headers=headers)
        except TimeoutError:
            return Answer(0, "no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(0, printable(f"{type(error).__name__}: {error}"))

    @staticmethod
    def _literal_problem(url: str, resolver: FilteringResolver) -> str:
        """aiohttp asks no resolver about addresses."""
        host = URL(url).host or ""
        try:
            canonical(host)
        except ValueError:
            return ""
        return "" if resolver.allows(host) else "Refused: the address is private"

    @staticmethod
    async def _try(
        session: aiohttp.ClientSession, url: str, *, body: bytes, headers: dict[str, str]
    ) -> Answer:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            said = await read(response)
            wait = response.headers.get("retry-after", "")
        later = retry_after_s(wait, now=clock.now(), parsed=date_of(wait)) if wait else 0.0
        if 200 <= response.status < 300:
            return Answer(response.status)
        text = said.decode("utf-8", "replace")
        return Answer(response.status, printable(f"HTTP {response.status} {text}"), later)

    async def close(self) -> None:
        for session, resolver in self._sessions.values():
            await session.close()
            await resolver.close()


async def read(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of a body; the connection is kept only if that was all of it, and soon."""
    said = b""
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            while len(said) <= BODY_BYTES_MAX and not response.content.at_eof():
                said += await response.content.read(BODY_BYTES_MAX + 1 - len(said))
    except (TimeoutError, aiohttp.ClientError):
        response.close()
    if len(said) > BODY_BYTES_MAX:
        response.close()
    return said[:ERROR_MAX]


def printable(text: str) -> str:
    """What others say, bounded before it is stored."""
    return "".join(c if c.isprintable() else " " for c in text[:ERROR_MAX]).strip()


def date_of(header: str) -> datetime | None:
    """An HTTP date, or None."""
    try:
        moment = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None
