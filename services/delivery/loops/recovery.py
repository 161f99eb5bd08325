"""Recovery of the attempts that expired workers left open.

An attempt is made again if it was certainly not sent and its time is not over; otherwise it is
finished as stale or ambiguous.
"""

from collections.abc import Sequence
from functools import partial

from kernel import clock
from kernel.database import Database, Transaction
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.outbox import Outbox, OutboxEntry
from services.delivery.domain.attempt_result import AttemptResult, attempted_event
from services.delivery.domain.owned_attempt import OwnedAttempt
from services.delivery.domain.recovery import decide_after_expiry, decide_overdue
from services.delivery.loops.committer import count_results, finished_attempt
from services.delivery.loops.delivery_dispatcher import DeliveryDispatcher
from services.delivery.store.journal import EpochExpired, Journal
from services.delivery.store.orphans import ROWS_MAX, OrphanedAttempt, OrphanStore
from services.delivery.store.workers import WorkerRegistration


class OrphanRecovery:
    """The action of a loop; any number of processes may run it."""

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
        self._orphans = OrphanStore()

    async def run_once(self) -> None:
        """Take over or finish every attempt that is an orphan now."""
        await self._worker.registered.wait()
        if self._worker.is_steady:
            async with self._database.transaction() as tx:
                await self._orphans.expire_workers(tx, except_epoch=self._worker.epoch)
        while await self._take_over_expired() == ROWS_MAX:
            pass
        await self._finish_orphans()
        async with self._database.transaction() as tx:
            await self._orphans.delete_expired_workers(tx)

    async def _take_over_expired(self) -> int:
        """Take over or finish up to ROWS_MAX attempts of expired workers; returns how many."""
        epoch = self._worker.epoch
        async with self._database.transaction() as tx:
            found = await self._orphans.of_expired_workers(tx)
            results = [(one, decide_after_expiry(one.stage, left_s=one.left_s)) for one in found]
            mine = [one for one, result in results if result is None]
            await self._take_over(tx, mine, epoch=epoch)
            ended = [(one, result) for one, result in results if result is not None]
            entry = await self._finish(tx, ended)
        await self._outbox.publish(entry, self._health)
        return len(found)

    async def _take_over(
        self, tx: Transaction, found: Sequence[OrphanedAttempt], *, epoch: int
    ) -> None:
        if not found:
            return
        try:
            await self._orphans.take_over(tx, [one.claim.key for one in found], epoch=epoch)
        except EpochExpired as expired:
            self._worker.invalidate()
            raise Unavailable("the delivery journal's registration") from expired
        now_s = clock.monotonic_s()
        started = [
            OwnedAttempt(one.claim.key, one.assignment, epoch, now_s + one.left_s) for one in found
        ]
        tx.after_commit(partial(self._delivery_dispatcher.enqueue, started))

    async def _finish(
        self, tx: Transaction, ended: Sequence[tuple[OrphanedAttempt, AttemptResult]]
    ) -> OutboxEntry:
        now_ms = clock.now_ms()
        attempts = [
            finished_attempt(
                one.claim,
                attempted_event(one.assignment, result, at_ms=now_ms),
                one.assignment.context.traceparent,
            )
            for one, result in ended
        ]
        finished = await self._journal.finish(tx, attempts) if attempts else []
        tx.after_commit(partial(count_results, finished))
        return await self._outbox.add(tx, [one.record for one in finished])

    async def _finish_orphans(self) -> None:
        """Finish attempts that are open under our epoch and overdue, but not in progress here."""
        epoch = self._worker.epoch
        async with self._database.transaction() as tx:
            keys = await self._orphans.find_overdue(tx, epoch=epoch, after_s=self._orphan_after_s)
        orphans = [key for key in keys if not self._delivery_dispatcher.is_in_progress(key, epoch)]
        for start in range(0, len(orphans), ROWS_MAX):
            async with self._database.transaction() as tx:
                part = orphans[start : start + ROWS_MAX]
                found = await self._orphans.lock(tx, part, epoch=epoch)
                entry = await self._finish(tx, [(one, decide_overdue(one.stage)) for one in found])
            await self._outbox.publish(entry, self._health)
