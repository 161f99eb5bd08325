"""Publishes what ticks have decided; express assignments do not wait for those of bulk mail."""

import asyncio
from collections.abc import Callable

from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox, OutboxEntry
from kernel.tasks import cancel_and_wait


class AssignmentPublisher:
    """The wait for the broker is the pace of bulk mail, so it is published in the background: until
    that is done, ticks assign express mail alone. on_done: called when it is."""

    def __init__(
        self, lease: Lease, outbox: Outbox, health: DependencyHealth, *, on_done: Callable[[], None]
    ) -> None:
        self._lease = lease
        self._outbox = outbox
        self._health = health
        self._background: asyncio.Task[None] | None = None
        self._on_done = on_done

    @property
    def is_busy(self) -> bool:
        """Whether bulk assignments wait for the broker."""
        return self._background is not None and not self._background.done()

    def start_tick(self) -> bool:
        """Whether the tick assigns express mail alone. Raises the error with which the last bulk
        assignments could not be published."""
        if self._background is None or self.is_busy:
            return self.is_busy
        done, self._background = self._background, None
        done.result()
        return False

    async def publish(self, entry: OutboxEntry, *, in_background: bool) -> None:
        """Does not wait in the background, where nothing else may be published."""
        if in_background:
            self._background = asyncio.create_task(self._publish(entry))
            self._background.add_done_callback(lambda _: self._on_done())
        else:
            await self._publish(entry)

    async def close(self) -> None:
        if self._background is not None:
            await cancel_and_wait(self._background)

    async def _publish(self, entry: OutboxEntry) -> None:
        with self._lease.publishing():
            await self._outbox.publish(entry, self._health)
        failpoint("router.tick.published")
