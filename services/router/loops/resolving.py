"""Messages whose site is not known wait in their tenant's lane `resolving`, until DNS has said."""

import asyncio
from collections.abc import Callable

from kernel import clock
from kernel.backoff import Health, patiently
from kernel.errors import Fenced
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.topics import encode
from services.router.clients.dns import Routes
from services.router.domain.facts import closed
from services.router.domain.resolution import Resolved, resolve
from services.router.store import claims, closings, resolving, suppressions

ROWS_MAX = 1000


class Resolving:
    """owned: this process is the cell's owner. moved: there is work for the tick."""

    def __init__(
        self,
        lease: Lease,
        outbox: Outbox,
        *,
        routes: Routes,
        moved: Callable[[], None],
        health: Health,
        idle_s: float,
    ) -> None:
        self._lease = lease
        self._outbox = outbox
        self._routes = routes
        self._moved = moved
        self._health = health
        self._idle_s = idle_s
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
                waiting = await resolving.due(tx, most=ROWS_MAX)
        except Fenced:
            return False
        if not waiting.rows and not waiting.lanes:
            return False
        resolved = resolve(waiting.rows, self._routes.answer, now_s=waiting.now_s)
        return await self._save(waiting, resolved)

    async def _save(self, waiting: resolving.Waiting, resolved: Resolved) -> bool:
        try:
            async with self._lease.transaction() as tx:
                finals = await closings.close(tx, resolved.closings)
                await suppressions.count_finals(tx, finals)
                await claims.relane(
                    tx, resolved.relaned, written=[one.lane for one in waiting.lanes]
                )
                await resolving.settle(tx, waiting.lanes)
                now = clock.now()
                entry = await self._outbox.add(tx, [encode(closed(f), now) for f in finals])
        except Fenced:
            return False
        await self._outbox.publish(entry, self._health)
        if resolved.relaned:
            self._moved()
        return len(waiting.rows) == ROWS_MAX and bool(resolved.relaned or resolved.closings)
