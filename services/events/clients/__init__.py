"""Other people's webhook endpoints. Resolve, filter, and connect to what was filtered.

A client of its own, over llhttp: a webhook is one small POST to a few hosts, over and over, and a
general client's 0.2 ms for it would be more than everything else that is done for an event. What
it leaves out (redirects, cookies, proxies, compression) it must not do anyway.
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from yarl import URL

from kernel import clock
from mail.reachable import Network
from services.events.clients.addresses import Addresses
from services.events.clients.connection import KEPT_S, Connection, Disconnected, Reply
from services.events.domain.schedule import Answer, date_of, retry_after_s

ERROR_MAX = 500
IDLE_MAX = 10  # kept connections to a host
CONSTANT = "User-Agent: OBM-Webhooks/1\r\nAccept: */*\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """What there is to know of a URL. head: the request's first lines."""

    scheme: str
    host: str
    port: int
    head: str


class Caller:
    """POSTs, over kept connections. Build it inside the running loop."""

    def __init__(self, allowed: Sequence[Network], *, timeout_s: float) -> None:
        self._addresses = Addresses(tuple(allowed))
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._tidying: asyncio.TimerHandle | None = None
        self._idle: dict[tuple[str, str, int], list[Connection]] = defaultdict(list)

    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str]) -> Answer:
        """Never raises for what an endpoint does. A kept connection that the endpoint has just
        closed is no failure of its: the same call is made once more, with the same id."""
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._exchange(target_of(url), request(headers, body))
        except TimeoutError:
            return Answer(0, "no answer in time")
        except (OSError, ValueError) as error:
            return Answer(0, printable(f"{type(error).__name__}: {error}"))
        return answer_of(reply)

    async def _exchange(self, target: Target, rest: bytes) -> Reply:
        data = target.head.encode() + rest
        if kept := self._kept(target):
            try:
                return await self._ask(kept, target, data=data)
            except Disconnected:
                if kept.answering:
                    raise
        return await self._ask(await self._connect(target), target, data=data)

    async def _ask(self, connection: Connection, target: Target, *, data: bytes) -> Reply:
        try:
            reply = await connection.ask(data)
        except BaseException:
            connection.close()
            raise
        self._keep(target, connection)
        return reply

    def _kept(self, target: Target) -> Connection | None:
        idle = self._idle[target.scheme, target.host, target.port]
        while idle:
            if (connection := idle.pop()).reusable:
                return connection
            connection.close()
        return None

    def _keep(self, target: Target, connection: Connection) -> None:
        """For the next call, if there is one soon."""
        idle = self._idle[target.scheme, target.host, target.port]
        if not connection.reusable or len(idle) >= IDLE_MAX:
            connection.close()
            return
        idle.append(connection)
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(KEPT_S, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        for key, idle in list(self._idle.items()):
            for old in [one for one in idle if not one.reusable]:
                idle.remove(old)
                old.close()
            if not idle:
                del self._idle[key]
        if self._idle:
            self._tidying = asyncio.get_running_loop().call_later(KEPT_S, self._tidy)

    async def _connect(self, target: Target) -> Connection:
        """To one of the addresses that were filtered, in their order."""
        plain = target.scheme == "http"
        failed: OSError = Disconnected("the host has no address")
        for address in await self._addresses.of(target.host, plain=plain):
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection,
                    address,
                    target.port,
                    ssl=None if plain else self._tls,
                    server_hostname=None if plain else target.host,
                )
            except OSError as error:
                failed = error
            else:
                return connection
        raise failed

    async def close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()
        await self._addresses.close()


@lru_cache(maxsize=1024)
def target_of(url: str) -> Target:
    """Raises ValueError for what is no address of ours."""
    parts = URL(url)
    if parts.scheme not in ("http", "https") or not parts.raw_host or parts.port is None:
        raise ValueError("not an http(s) URL")
    host = f"[{parts.raw_host}]" if ":" in parts.raw_host else parts.raw_host
    named = host if parts.is_default_port() else f"{host}:{parts.port}"
    head = f"POST {parts.raw_path_qs} HTTP/1.1\r\nHost: {named}\r\n{CONSTANT}"
    return Target(parts.scheme, parts.raw_host, parts.port, head)


def request(headers: Mapping[str, str], body: bytes) -> bytes:
    """All of it but the first lines."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"Content-Length: {len(body)}\r\n{''.join(lines)}\r\n".encode() + body


def answer_of(reply: Reply) -> Answer:
    if 200 <= reply.status < 300:
        return Answer(reply.status)
    later = reply.retry_after
    wait_s = retry_after_s(later, now=clock.now(), parsed=date_of(later)) if later else 0.0
    text = reply.body.decode("utf-8", "replace")
    return Answer(reply.status, printable(f"HTTP {reply.status} {text}"), wait_s)


def printable(text: str) -> str:
    """What others say, bounded before it is stored."""
    return "".join(c if c.isprintable() else " " for c in text[:ERROR_MAX]).strip()
