"""What workers leave behind when they end: sent if there is time and it is sure that it was not."""

from collections.abc import Sequence
from functools import partial

from kernel import clock
from kernel.database import Database, Transaction
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.outbox import Outbox, OutboxEntry
from services.delivery.domain.attempt_result import AttemptResult, attempted_event
from services.delivery.domain.owned_attempt import OwnedAttempt
from services.delivery.domain.recovery import decide, decide_orphan
from services.delivery.loops.committer import count_results, finished_attempt
from services.delivery.loops.delivery_dispatcher import DeliveryDispatcher
from services.delivery.store.abandoned import ROWS_MAX, AbandonedAttempt, AbandonedAttempts
from services.delivery.store.journal import EpochExpired, Journal
from services.delivery.store.workers import WorkerRegistration


class Recovery:
    """A loop's action; any number of processes may run it."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        journal: Journal,
        worker: WorkerRegistration,
        delivery_dispatcher: DeliveryDispatcher,
        health: DependencyHealth,
        orphan_after_s: float,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._journal = journal
        self._worker = worker
        self._delivery_dispatcher = delivery_dispatcher
        self._health = health
        self._orphan_after_s = orphan_after_s
        self._abandoned = AbandonedAttempts()

    async def run_once(self) -> None:
        """Everything that is abandoned just now."""
        await self._worker.registered.wait()
        if self._worker.is_steady:
            async with self._database.transaction() as tx:
                await self._abandoned.expire_workers(tx, but=self._worker.epoch)
        while await self._take_over_expired() == ROWS_MAX:
            pass
        await self._finish_orphans()
        async with self._database.transaction() as tx:
            await self._abandoned.delete_expired_workers(tx)

    async def _take_over_expired(self) -> int:
        """Some rows of the expired: ours from here on, or at their end."""
        epoch = self._worker.epoch
        async with self._database.transaction() as tx:
            found = await self._abandoned.of_expired_workers(tx)
            results = [(one, decide(one.stage, left_s=one.left_s)) for one in found]
            mine = [one for one, result in results if result is None]
            await self._take_over(tx, mine, epoch=epoch)
            entry = await self._end(tx, [(one, end) for one, end in results if end is not None])
        await self._outbox.publish(entry, self._health)
        return len(found)

    async def _take_over(
        self, tx: Transaction, found: Sequence[AbandonedAttempt], *, epoch: int
    ) -> None:
        if not found:
            return
        try:
            await self._abandoned.take_over(tx, [one.claim.key for one in found], epoch=epoch)
        except EpochExpired as expired:
            self._worker.invalidate()
            raise Unavailable("the delivery journal's registration") from expired
        now_s = clock.monotonic_s()
        started = [
            OwnedAttempt(one.claim.key, one.assignment, epoch, now_s + one.left_s) for one in found
        ]
        tx.after_commit(partial(self._delivery_dispatcher.enqueue, started))

    async def _end(
        self, tx: Transaction, ended: Sequence[tuple[AbandonedAttempt, AttemptResult]]
    ) -> OutboxEntry:
        now_ms = clock.now_ms()
        done = [
            finished_attempt(
                one.claim,
                attempted_event(one.assignment, result, at_ms=now_ms),
                one.assignment.context.traceparent,
            )
            for one, result in ended
        ]
        finished = await self._journal.finish(tx, done) if done else []
        tx.after_commit(partial(count_results, finished))
        return await self._outbox.add(tx, [one.record for one in finished])

    async def _finish_orphans(self) -> None:
        """Open under our epoch, long past their time, and in no memory."""
        epoch = self._worker.epoch
        async with self._database.transaction() as tx:
            keys = await self._abandoned.overdue(tx, epoch=epoch, after_s=self._orphan_after_s)
        lost = [key for key in keys if not self._delivery_dispatcher.is_in_progress(key, epoch)]
        for start in range(0, len(lost), ROWS_MAX):
            async with self._database.transaction() as tx:
                part = lost[start : start + ROWS_MAX]
                found = await self._abandoned.lock(tx, part, epoch=epoch)
                entry = await self._end(tx, [(one, decide_orphan(one.stage)) for one in found])
            await self._outbox.publish(entry, self._health)
