"""Sends usage to a billing system."""

import asyncio

from kernel.addresses import AddressResolver
from kernel.dial import Dialer, parse_url_target
from kernel.errors import Unavailable
from kernel.http_connection import HttpConnection
from services.ingest.domain.usage_export import REQUESTS, System, UsageExport, is_known

TIMEOUT_S = 30.0


class BillingRefusal(Exception):
    """The billing system refuses this export, such as one of an unknown customer."""


class BillingClient:
    """url: of the system. key: sent as a bearer token. Build it inside the running loop."""

    def __init__(self, system: System, url: str, key: str) -> None:
        self._system = system
        self._url = url.rstrip("/")
        self._key = key
        self._dialer = Dialer(AddressResolver(lambda *_: True))  # the operator chose the host

    async def send(self, export: UsageExport) -> None:
        """It is counted when this returns, and a repeat is not counted again. Raises
        BillingRefusal; Unavailable if it has to be sent again."""
        request = REQUESTS[self._system](export)
        target = parse_url_target(self._url + request.path)
        head = (
            f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n"
            f"Authorization: Bearer {self._key}\r\nContent-Type: {request.media_type}\r\n"
            f"Content-Length: {len(request.body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = await self._dialer.connect(target, HttpConnection)
                try:
                    response = await connection.send(head.encode() + request.body)
                finally:
                    connection.close()
        except (OSError, TimeoutError, ValueError) as error:
            raise Unavailable(f"the billing system ({error!r})") from error
        if 200 <= response.status < 300 or is_known(self._system, response.status, response.body):
            return
        if response.status in {408, 429} or response.status >= 500:
            raise Unavailable(f"the billing system (HTTP {response.status})")
        text = response.body[:300].decode("utf-8", "replace")
        raise BillingRefusal(f"HTTP {response.status}: {text}")

    async def close(self) -> None:
        await self._dialer.close()
