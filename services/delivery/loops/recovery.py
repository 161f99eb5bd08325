"""What workers leave behind when they end: sent if there is time and it is sure that it was not."""

from collections.abc import Sequence
from functools import partial

from kernel import clock
from kernel.backoff import Health
from kernel.database import Database, Transaction
from kernel.errors import Unavailable
from kernel.outbox import Entry, Outbox
from services.delivery.domain.ending import Ending, attempted
from services.delivery.domain.recovery import orphaned, settle
from services.delivery.domain.started import Started
from services.delivery.loops.committer import count, done_of
from services.delivery.loops.sender import Sender
from services.delivery.store.abandoned import ROWS_MAX, Abandoned, Graveyard
from services.delivery.store.journal import Dead, Journal
from services.delivery.store.workers import Worker


class Recovery:
    """A loop's action; any number of processes may run it."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        journal: Journal,
        worker: Worker,
        sender: Sender,
        health: Health,
        orphan_after_s: float,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._journal = journal
        self._worker = worker
        self._sender = sender
        self._health = health
        self._orphan_after_s = orphan_after_s
        self._graveyard = Graveyard()

    async def recover(self) -> None:
        """Everything that is abandoned just now."""
        await self._worker.registered.wait()
        if self._worker.steady:
            async with self._database.transaction() as tx:
                await self._graveyard.bury(tx, but=self._worker.epoch)
        while await self._inherit() == ROWS_MAX:
            pass
        await self._orphans()
        async with self._database.transaction() as tx:
            await self._graveyard.forget(tx)

    async def _inherit(self) -> int:
        """Some rows of the dead: ours from here on, or at their end."""
        epoch = self._worker.epoch
        async with self._database.transaction() as tx:
            found = await self._graveyard.of_the_dead(tx)
            endings = [(one, settle(one.stage, left_s=one.left_s)) for one in found]
            mine = [one for one, ending in endings if ending is None]
            await self._take_over(tx, mine, epoch=epoch)
            entry = await self._end(tx, [(one, end) for one, end in endings if end is not None])
        await self._outbox.publish(entry, self._health)
        return len(found)

    async def _take_over(self, tx: Transaction, found: Sequence[Abandoned], *, epoch: int) -> None:
        if not found:
            return
        try:
            await self._graveyard.take_over(tx, [one.held.key for one in found], epoch=epoch)
        except Dead as dead:
            self._worker.forget()
            raise Unavailable("the delivery journal's registration") from dead
        now_s = clock.monotonic_s()
        started = [
            Started(one.held.key, one.assignment, epoch, now_s + one.left_s) for one in found
        ]
        tx.after_commit(partial(self._sender.offer, started))

    async def _end(self, tx: Transaction, ended: Sequence[tuple[Abandoned, Ending]]) -> Entry:
        now_ms = clock.now_ms()
        done = [
            done_of(
                one.held,
                attempted(one.assignment, ending, at_ms=now_ms),
                one.assignment.envelope.traceparent,
            )
            for one, ending in ended
        ]
        told = await self._journal.done(tx, done) if done else []
        tx.after_commit(partial(count, told))
        return await self._outbox.add(tx, [one.record for one in told])

    async def _orphans(self) -> None:
        """Open under our epoch, long past their time, and in no memory."""
        epoch = self._worker.epoch
        async with self._database.transaction() as tx:
            keys = await self._graveyard.overdue(tx, epoch=epoch, after_s=self._orphan_after_s)
        lost = [key for key in keys if not self._sender.holds(key, epoch)]
        for start in range(0, len(lost), ROWS_MAX):
            async with self._database.transaction() as tx:
                part = lost[start : start + ROWS_MAX]
                found = await self._graveyard.lock(tx, part, epoch=epoch)
                entry = await self._end(tx, [(one, orphaned(one.stage)) for one in found])
            await self._outbox.publish(entry, self._health)
