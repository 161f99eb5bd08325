"""Other people's webhook endpoints. Resolve, filter, and connect to what was filtered.

A client of its own, over llhttp: a webhook is one small POST to a few hosts, over and over, and a
general client's 0.2 ms for it would be more than everything else that is done for an event. What
it leaves out (redirects, cookies, proxies, compression) it must not do anyway.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from kernel import clock
from kernel.addresses import Addresses
from kernel.dial import Dialer, Target, target_of
from mail.reachable import Network, may_call
from services.events.clients.connection import (
    IDLE_TIMEOUT_S,
    Connection,
    Disconnected,
    HttpResponse,
)
from services.events.domain.schedule import EndpointResponse, parse_http_date, retry_after_s

ERROR_MAX = 500
IDLE_MAX = 10  # idle connections to a host
CONSTANT = "User-Agent: OBM-Webhooks/1\r\nAccept: */*\r\nContent-Type: application/json\r\n"


class WebhookClient:
    """POSTs, over idle connections. Build it inside the running loop."""

    def __init__(self, allowed: Sequence[Network], *, timeout_s: float) -> None:
        permitted = tuple(allowed)
        self._dialer = Dialer(
            Addresses(lambda address, plain: may_call(address, permitted, plain=plain))
        )
        self._timeout_s = timeout_s
        self._tidying: asyncio.TimerHandle | None = None
        self._idle: dict[tuple[str, str, int], list[Connection]] = defaultdict(list)

    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str]) -> EndpointResponse:
        """Never raises for what an endpoint does. A idle connection that the endpoint has just
        closed is no failure of its: the same request is sent once more, with the same id."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._exchange(target_of(url), request(headers, body))
        except TimeoutError:
            return EndpointResponse(0, "no response in time")
        except (OSError, ValueError) as error:
            return EndpointResponse(0, printable(f"{type(error).__name__}: {error}"))
        return endpoint_response(response)

    async def _exchange(self, target: Target, rest: bytes) -> HttpResponse:
        first = f"POST {target.path} HTTP/1.1\r\nHost: {target.named}\r\n{CONSTANT}"
        data = first.encode() + rest
        if connection := self._take_idle(target):
            try:
                return await self._send(connection, target, data=data)
            except Disconnected:
                if connection.response_started:
                    raise
        return await self._send(await self._dialer.connect(target, Connection), target, data=data)

    async def _send(self, connection: Connection, target: Target, *, data: bytes) -> HttpResponse:
        try:
            response = await connection.send(data)
        except BaseException:
            connection.close()
            raise
        self._return_idle(target, connection)
        return response

    def _take_idle(self, target: Target) -> Connection | None:
        idle = self._idle[target.scheme, target.host, target.port]
        while idle:
            if (connection := idle.pop()).is_reusable:
                return connection
            connection.close()
        return None

    def _return_idle(self, target: Target, connection: Connection) -> None:
        """For the next request, if there is one soon."""
        idle = self._idle[target.scheme, target.host, target.port]
        if not connection.is_reusable or len(idle) >= IDLE_MAX:
            connection.close()
            return
        idle.append(connection)
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(IDLE_TIMEOUT_S, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        for key, idle in list(self._idle.items()):
            for old in [one for one in idle if not one.is_reusable]:
                idle.remove(old)
                old.close()
            if not idle:
                del self._idle[key]
        if self._idle:
            self._tidying = asyncio.get_running_loop().call_later(IDLE_TIMEOUT_S, self._tidy)

    async def close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()
        await self._dialer.close()


def request(headers: Mapping[str, str], body: bytes) -> bytes:
    """All of it but the first lines."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"Content-Length: {len(body)}\r\n{''.join(lines)}\r\n".encode() + body


def endpoint_response(response: HttpResponse) -> EndpointResponse:
    if 200 <= response.status < 300:
        return EndpointResponse(response.status)
    later = response.retry_after
    wait_s = retry_after_s(later, now=clock.now(), parsed=parse_http_date(later)) if later else 0.0
    text = response.body.decode("utf-8", "replace")
    return EndpointResponse(response.status, printable(f"HTTP {response.status} {text}"), wait_s)


def printable(text: str) -> str:
    """What others say, bounded before it is stored."""
    return "".join(c if c.isprintable() else " " for c in text[:ERROR_MAX]).strip()
