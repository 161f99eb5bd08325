"""Messages whose site is not known wait in a lane of their tenant and domain until DNS has said."""

import asyncio
from collections.abc import Callable, Iterator

from kernel import clock
from kernel.backoff import Health, patiently
from kernel.errors import Fenced
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.topics import encode
from services.router.clients.dns import Routes
from services.router.domain.facts import closed
from services.router.domain.resolution import Heard, hear, resolve
from services.router.store import claims, closings, resolving, suppressions


class Resolving:
    """asked_max: domains of one tenant that are asked about at a time. moved: there is work for the
    tick."""

    def __init__(
        self,
        lease: Lease,
        outbox: Outbox,
        *,
        routes: Routes,
        moved: Callable[[], None],
        health: Health,
        idle_s: float,
        asked_max: int,
    ) -> None:
        self._lease = lease
        self._outbox = outbox
        self._routes = routes
        self._moved = moved
        self._health = health
        self._idle_s = idle_s
        self._asked_max = asked_max
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Mail without a site has come, or DNS has answered."""
        self._woken.set()

    async def run(self) -> None:
        while True:
            self._woken.clear()
            more = await patiently(self._turn, self._health)
            if more:
                continue
            try:
                async with asyncio.timeout(self._idle_s):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _turn(self) -> bool:
        """Whether there may be more to do at once."""
        if self._lease.fence is None:
            return False
        try:
            async with self._lease.transaction() as tx:
                opened = await resolving.opened(tx)
        except Fenced:
            return False
        heard = hear(opened, self._routes.answer, asked_max=self._asked_max)
        return bool(heard.answers or heard.unknown) and await self._save(heard)

    async def _save(self, heard: Heard) -> bool:
        """Whether there may be more in the lanes of which DNS has spoken."""
        answers = {one.key: answer for one, answer in heard.answers.items()}
        each = max(1, resolving.ROWS_MAX // max(1, len(answers)))
        try:
            async with self._lease.transaction() as tx:
                rows = await resolving.due(tx, list(answers), each=each)
                resolved = resolve(rows, answers)
                finals = await closings.close(tx, resolved.closings)
                await suppressions.count_finals(tx, finals)
                lanes = [one.lane for one in (*heard.answers, *heard.unknown)]
                await claims.relane(tx, resolved.relaned, written=lanes)
                await resolving.settle(tx, settled(heard))
                now = clock.now()
                entry = await self._outbox.add(tx, [encode(closed(f), now) for f in finals])
        except Fenced:
            return False
        with self._lease.telling():
            await self._outbox.publish(entry, self._health)
        if resolved.relaned:
            self._moved()
        return len(rows) >= each


def settled(heard: Heard) -> Iterator[resolving.Settled]:
    """When each lane is looked at again."""
    for one in heard.answers:
        yield resolving.Settled(one)
    for one, unknown in heard.unknown.items():
        yield resolving.Settled(one, unknown.retry_s, f"dns: {unknown.text}"[:200])
