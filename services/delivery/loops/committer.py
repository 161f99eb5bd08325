"""The journal by groups: `data_sent` before the dot, the outcome after it, in one transaction."""

import asyncio
from collections.abc import Sequence
from functools import partial

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock, metrics
from kernel.backoff import Health, patiently
from kernel.database import Database
from kernel.failpoint import failpoint
from kernel.group import Group
from kernel.outbox import Entry, Outbox
from kernel.topics import encode
from services.delivery.store.journal import Done, Held, Journal, word_of

GROUP_MAX = 500


class Committer:
    """Group commit by arrival. Every step says whether the row was still ours."""

    def __init__(
        self, database: Database, outbox: Outbox, *, journal: Journal, health: Health
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._journal = journal
        self._health = health
        self._group: Group[Held | Done, bool] = Group(self._commit, items_max=GROUP_MAX)
        self._telling: set[asyncio.Task[None]] = set()

    async def data_sent(self, held: Held) -> bool:
        """True: durable, and the dot may be sent. Raises Unavailable."""
        return await self._group.submit(held)

    async def done(self, done: Done) -> bool:
        """True: durable, and told. False: another has settled it. Raises Unavailable."""
        return await self._group.submit(done)

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
        await patiently(partial(self._outbox.publish, entry), self._health)
        failpoint("delivery.outcome.published")

    async def _commit(self, items: Sequence[Held | Done]) -> list[bool]:
        sent = [item for item in items if isinstance(item, Held)]
        ended = [item for item in items if isinstance(item, Done)]
        entry = Entry(None, ())
        try:
            async with self._database.transaction() as tx:
                may_send = await self._journal.data_sent(tx, sent) if sent else set()
                settled = await self._journal.done(tx, ended) if ended else set()
                told = [one for one in ended if one.held.key in settled]
                entry = await self._outbox.add(tx, records(told))
        except BaseException:
            self._outbox.abandon(entry)
            raise
        if told:
            failpoint("delivery.outcome.committed")
            self._publish_soon(entry)
        count(told)
        return [
            (item.key in may_send) if isinstance(item, Held) else (item.held.key in settled)
            for item in items
        ]


def records(told: Sequence[Done]) -> list[Outgoing]:
    now = clock.now()
    return [encode(one.event, now, one.traceparent) for one in told]


def count(told: Sequence[Done]) -> None:
    for one in told:
        metrics.attempted.labels(word_of(one.event)).inc()
        if one.event.ambiguous:
            metrics.ambiguous.inc()
