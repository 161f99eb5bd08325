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
from services.events.clients.connection import KEPT_S, Connection, Disconnected, Reply
from services.events.domain.schedule import Answer, date_of, retry_after_s

ERROR_MAX = 500
IDLE_MAX = 10  # kept connections to a host
CONSTANT = "User-Agent: OBM-Webhooks/1\r\nAccept: */*\r\nContent-Type: application/json\r\n"


class Caller:
    """POSTs, over kept connections. Build it inside the running loop."""

    def __init__(self, allowed: Sequence[Network], *, timeout_s: float) -> None:
        permitted = tuple(allowed)
        self._dialer = Dialer(
            Addresses(lambda address, plain: may_call(address, permitted, plain=plain))
        )
        self._timeout_s = timeout_s
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
        first = f"POST {target.path} HTTP/1.1\r\nHost: {target.named}\r\n{CONSTANT}"
        data = first.encode() + rest
        if kept := self._kept(target):
            try:
                return await self._ask(kept, target, data=data)
            except Disconnected:
                if kept.answering:
                    raise
        return await self._ask(await self._dialer.connect(target, Connection), target, data=data)

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
