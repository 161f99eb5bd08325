"""The journal by groups: `data_sent` before the dot, the outcome after it, in one statement."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from kernel import clock, metrics
from kernel.backoff import Health
from kernel.database import Database
from kernel.failpoint import failpoint
from kernel.group import Group
from kernel.outbox import RECORD_BYTES, ROW_BYTES_MAX, Entry, Outbox
from kernel.topics import encode
from services.delivery.store.journal import Done, Held, Journal, word_of

GROUP_MAX = 500
WINDOW_S = 0.02  # a statement costs us and the database as much as ten steps do


class Committer:
    """Group commit by arrival. Every step says whether the row was still ours."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        journal: Journal,
        health: Health,
        sweep_after_s: float,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._journal = journal
        self._health = health
        self._sweep_after_s = sweep_after_s
        self._group: Group[Held | Done, bool] = Group(
            self._commit, items_max=GROUP_MAX, bytes_max=ROW_BYTES_MAX, window_s=WINDOW_S
        )
        self._telling: set[asyncio.Task[None]] = set()

    async def data_sent(self, held: Held) -> bool:
        """True: durable, and the dot may be sent. Raises Unavailable."""
        return await self._group.submit(held)

    async def done(self, done: Done) -> bool:
        """True: durable, and told. False: another has settled it. Raises Unavailable."""
        return await self._group.submit(done, size=octets_of(done))

    async def idle(self) -> None:
        """Return when everything is committed and told."""
        await self._group.idle()
        while self._telling:
            await asyncio.wait(self._telling)

    def _publish_soon(self, entry: Entry) -> None:
        task = asyncio.create_task(self._publish(entry))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _publish(self, entry: Entry) -> None:
        await self._outbox.publish(entry, self._health)
        failpoint("delivery.outcome.published")

    async def _commit(self, items: Sequence[Held | Done]) -> list[bool]:
        moved, row = await self._journal.commit(
            self._database, items, sweep_after_s=self._sweep_after_s
        )
        told = [one for one, did in zip(items, moved, strict=True) if did and isinstance(one, Done)]
        if row is not None:
            failpoint("delivery.outcome.committed")
            entry, octets = Entry(), sum(map(octets_of, told))
            self._outbox.adopt(entry, row, [one.record for one in told], octets=octets)
            self._publish_soon(entry)
        count(told)
        return moved


def done_of(held: Held, event: DeliveryAttempted, traceparent: str) -> Done:
    """An end with its record, made before the commit."""
    return Done(held, event, encode(event, clock.now(), traceparent))


def octets_of(done: Done) -> int:
    """In the row of the outbox."""
    return RECORD_BYTES + len(done.record.value)


def count(told: Sequence[Done]) -> None:
    for word, times in Counter(word_of(one.event) for one in told).items():
        metrics.attempted.labels(word).inc(times)
    if ambiguous := sum(one.event.ambiguous for one in told):
        metrics.ambiguous.inc(ambiguous)
