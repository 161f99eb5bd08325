"""The client of webhook endpoints: resolves names, filters addresses, connects to what remains.

It is written directly on llhttp: webhooks are many small POSTs to a few hosts, for which a general
client takes 0.2 ms each, more than all other work for an event. The features that are missing
(redirects, cookies, proxies, compression) must not be used for webhooks anyway.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from kernel import clock
from kernel.addresses import AddressResolver
from kernel.dial import Dialer, UrlTarget, parse_url_target
from kernel.http_connection import (
    IDLE_TIMEOUT_S,
    Disconnected,
    HttpConnection,
    HttpResponse,
)
from mail.reachable import Network, address_policy
from services.events.domain.schedule import EndpointResponse, parse_http_date, retry_after_s

ERROR_MAX = 500
BODY_MAX = 1000
SUCCESS_BODY_MAX = 200  # there are as many of them as events
IDLE_MAX = 10  # idle connections per host
HEADERS = "Accept: */*\r\nContent-Type: application/json\r\n"


class WebhookClient:
    """Sends POSTs, and reuses connections. Create it inside the running event loop."""

    def __init__(self, allowed: Sequence[Network], *, timeout_s: float) -> None:
        self._dialer = Dialer(AddressResolver(address_policy(allowed)))
        self._timeout_s = timeout_s
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle: dict[tuple[str, str, int], list[HttpConnection]] = defaultdict(list)

    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str], user_agent: str
    ) -> EndpointResponse:
        """Send a POST; never raises for an error of the endpoint. If the endpoint has just closed
        an idle connection, the same request is sent again over a new one. user_agent: of the brand.
        """
        fields = {"User-Agent": f"{user_agent}-Webhooks/1", **headers}
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._exchange(
                    parse_url_target(url), headers_and_body(fields, body)
                )
        except TimeoutError:
            return EndpointResponse(0, "no response in time")
        except (OSError, ValueError) as error:
            return EndpointResponse(0, printable_text(f"{type(error).__name__}: {error}"))
        return endpoint_response(response)

    async def _exchange(self, target: UrlTarget, rest: bytes) -> HttpResponse:
        start = f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n{HEADERS}"
        data = start.encode() + rest
        if connection := self._take_idle(target):
            try:
                return await self._send(connection, target, data=data)
            except Disconnected:
                if connection.response_started:
                    raise
        return await self._send(
            await self._dialer.connect(target, HttpConnection), target, data=data
        )

    async def _send(
        self, connection: HttpConnection, target: UrlTarget, *, data: bytes
    ) -> HttpResponse:
        try:
            response = await connection.send(data)
        except BaseException:
            connection.close()
            raise
        self._return_idle(target, connection)
        return response

    def _take_idle(self, target: UrlTarget) -> HttpConnection | None:
        idle = self._idle[target.scheme, target.host, target.port]
        while idle:
            if (connection := idle.pop()).is_reusable:
                return connection
            connection.close()
        return None

    def _return_idle(self, target: UrlTarget, connection: HttpConnection) -> None:
        """Keep the connection for the next request."""
        idle = self._idle[target.scheme, target.host, target.port]
        if not connection.is_reusable or len(idle) >= IDLE_MAX:
            connection.close()
            return
        idle.append(connection)
        if self._idle_timer is None:
            self._set_idle_timer()

    def _set_idle_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._idle_timer = loop.call_later(IDLE_TIMEOUT_S, self._close_idle)

    def _close_idle(self) -> None:
        self._idle_timer = None
        for key, idle in list(self._idle.items()):
            for connection in [one for one in idle if not one.is_reusable]:
                idle.remove(connection)
                connection.close()
            if not idle:
                del self._idle[key]
        if self._idle:
            self._set_idle_timer()

    async def close(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()
        await self._dialer.close()


def headers_and_body(headers: Mapping[str, str], body: bytes) -> bytes:
    """The request without its start line and constant headers."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"Content-Length: {len(body)}\r\n{''.join(lines)}\r\n".encode() + body


def endpoint_response(response: HttpResponse) -> EndpointResponse:
    text = response.body.decode("utf-8", "replace")
    if 200 <= response.status < 300:
        return EndpointResponse(response.status, body=printable_text(text, SUCCESS_BODY_MAX))
    delay_s, header = 0.0, response.retry_after
    if header:
        delay_s = retry_after_s(header, now=clock.now(), parsed=parse_http_date(header))
    error = printable_text(f"HTTP {response.status} {text}")
    return EndpointResponse(response.status, error, delay_s, printable_text(text, BODY_MAX))


def printable_text(text: str, limit: int = ERROR_MAX) -> str:
    """Text of an endpoint, limited and printable, so that it can be stored."""
    return "".join(c if c.isprintable() else " " for c in text[:limit]).strip()
