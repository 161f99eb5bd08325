"""The event handler: writes assignments to the journal, then enqueues the attempts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.database import Transaction
from kernel.days import day_of
from kernel.errors import Unavailable
from kernel.handler_result import Drop, Emit, HandlerResult
from services.delivery.domain.attempt_result import STALE, attempted_event
from services.delivery.domain.owned_attempt import AttemptKey, OwnedAttempt
from services.delivery.store.days import JournalDayPartitions
from services.delivery.store.journal import BeginAttemptResult, EpochExpired, Journal
from services.delivery.store.workers import WorkerRegistration

Batch = Mapping[AttemptKey, DeliveryAssigned]


@dataclass(frozen=True, slots=True)
class AssignmentHandler:
    """enqueue: of the delivery dispatcher."""

    journal: Journal
    worker: WorkerRegistration
    days: JournalDayPartitions
    enqueue: Callable[[Sequence[OwnedAttempt]], None]

    async def on_assigned(
        self, batch: Sequence[DeliveryAssigned], tx: Transaction
    ) -> list[HandlerResult]:
        """Begin new attempts, and emit results of late and of finished ones."""
        by_key = {AttemptKey(one.message_id, one.attempt): one for one in batch}
        recent = await self._within_retention(by_key)
        epoch = self.worker.epoch
        begun = await self._begin(tx, recent, epoch=epoch)
        enqueue = partial(self._enqueue, recent, begun, epoch=epoch, now_s=clock.monotonic_s())
        tx.after_commit(enqueue)
        return [
            result_for(one, begun.get(key), too_old=key not in recent)
            for key, one in by_key.items()
        ]

    async def _within_retention(self, batch: Batch) -> Batch:
        """The assignments whose day has a partition in the journal; creates missing partitions."""
        days = {key: day_of(key.message_id) for key in batch}
        expired = await self.days.ensure(days.values())
        return {key: one for key, one in batch.items() if days[key] not in expired}

    async def _begin(
        self, tx: Transaction, batch: Batch, *, epoch: int
    ) -> dict[AttemptKey, BeginAttemptResult]:
        try:
            return await self.journal.begin(tx, batch, epoch=epoch)
        except EpochExpired as expired:
            self.worker.invalidate()
            raise Unavailable("the delivery journal's registration") from expired

    def _enqueue(
        self,
        batch: Batch,
        begun: Mapping[AttemptKey, BeginAttemptResult],
        *,
        epoch: int,
        now_s: float,
    ) -> None:
        self.enqueue(
            [
                OwnedAttempt(key, one, epoch, now_s + begin_result.left_s)
                for key, one in batch.items()
                if (begin_result := begun.get(key)) and begin_result.is_ours
            ]
        )


def result_for(
    assignment: DeliveryAssigned, begin_result: BeginAttemptResult | None, *, too_old: bool = False
) -> HandlerResult:
    """The handler's result for an assignment."""
    if too_old:
        return Drop("too old")
    if begin_result is None or (begin_result.outcome is None and not begin_result.is_new):
        return Drop("open")  # in progress; its worker will publish the result
    if begin_result.outcome is None:
        return Drop("begun")
    if begin_result.attempted is not None:
        return Emit(DeliveryAttempted.FromString(begin_result.attempted))
    return Emit(attempted_event(assignment, STALE, at_ms=clock.now_ms()))
