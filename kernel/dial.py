"""Connect to URLs that customers choose: resolve, filter, connect to an allowed address."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

from yarl import URL

from kernel.addresses import AddressResolver

P = TypeVar("P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True, slots=True)
class UrlTarget:
    """The parts of a URL. authority: the value of the Host field. path: with its query."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


@lru_cache(maxsize=1024)
def parse_url_target(url: str) -> UrlTarget:
    """Raises ValueError unless it is an http(s) URL."""
    parts = URL(url)
    if parts.scheme not in ("http", "https") or not parts.raw_host or parts.port is None:
        raise ValueError("not an http(s) URL")
    host = f"[{parts.raw_host}]" if ":" in parts.raw_host else parts.raw_host
    authority = host if parts.is_default_port() else f"{host}:{parts.port}"
    return UrlTarget(parts.scheme, parts.raw_host, parts.port, authority, parts.raw_path_qs)


class Dialer:
    """Build it inside the running loop."""

    def __init__(self, addresses: AddressResolver) -> None:
        self._addresses = addresses

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made for the first https URL: to read all authorities takes 30 ms."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def connect(self, target: UrlTarget, protocol: Callable[[], P]) -> P:
        """Connect to the first allowed address that responds. Raises OSError."""
        plain = target.scheme == "http"
        failed = OSError("the host has no address")
        for address in await self._addresses.resolve(target.host, plain=plain):
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    protocol,
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
        await self._addresses.close()
