"""Names to addresses that may be called."""

import asyncio
import socket

from kernel import clock
from services.events.domain.endpoint import Network, canonical, may_call

TTL_S = 30.0
NAMES_MAX = 4096


class Refused(OSError):
    """The address may not be called."""


class Addresses:
    """What it answers is what is connected to: no second lookup, so no rebinding."""

    def __init__(self, allowed: tuple[Network, ...]) -> None:
        self._allowed = allowed
        self._found: dict[str, tuple[float, list[str]]] = {}

    async def of(self, host: str, port: int, *, plain: bool) -> list[str]:
        """plain: without TLS, which needs an allowed address. Raises Refused, or OSError."""
        found = await self._resolved(host, port)
        good = [one for one in found if may_call(one, self._allowed, plain=plain)]
        if found and not good:
            raise Refused("the address is private")
        return good

    async def _resolved(self, host: str, port: int) -> list[str]:
        try:
            canonical(host)
        except ValueError:
            pass
        else:
            return [host]
        until, found = self._found.get(host, (0.0, []))
        if clock.monotonic_s() < until:
            return found
        loop = asyncio.get_running_loop()
        answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(address[0]) for *_, address in answers))
        if len(self._found) >= NAMES_MAX:
            self._found.clear()
        self._found[host] = (clock.monotonic_s() + TTL_S, found)
        return found
