"""Event handlers: an assignment becomes a row of the journal, then work for the dispatcher."""

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
from services.delivery.store.journal import BeginResult, EpochExpired, Journal
from services.delivery.store.workers import WorkerRegistration

Batch = Mapping[AttemptKey, DeliveryAssigned]


@dataclass(frozen=True, slots=True)
class Handlers:
    """enqueue: the delivery dispatcher's."""

    journal: Journal
    worker: WorkerRegistration
    days: JournalDayPartitions
    enqueue: Callable[[Sequence[OwnedAttempt]], None]

    async def on_assigned(
        self, batch: Sequence[DeliveryAssigned], tx: Transaction
    ) -> list[HandlerResult]:
        """New ones are begun, late ones answered stale, known ones answered again."""
        known = {AttemptKey(one.message_id, one.attempt): one for one in batch}
        kept = await self._kept(known)
        epoch = self.worker.epoch
        begun = await self._begin(tx, kept, epoch=epoch)
        tx.after_commit(partial(self._send, kept, begun, epoch=epoch, since_s=clock.monotonic_s()))
        return [
            result_for(one, begun.get(key), forgotten=key not in kept) for key, one in known.items()
        ]

    async def _kept(self, batch: Batch) -> Batch:
        """Without those of days that the journal has forgotten; their partitions exist."""
        days = {key: day_of(key.message_id) for key in batch}
        forgotten = await self.days.ensure(days.values())
        return {key: one for key, one in batch.items() if days[key] not in forgotten}

    async def _begin(
        self, tx: Transaction, batch: Batch, *, epoch: int
    ) -> dict[AttemptKey, BeginResult]:
        try:
            return await self.journal.begin(tx, batch, epoch=epoch)
        except EpochExpired as expired:
            self.worker.invalidate()
            raise Unavailable("the delivery journal's registration") from expired

    def _send(
        self, batch: Batch, begun: Mapping[AttemptKey, BeginResult], *, epoch: int, since_s: float
    ) -> None:
        self.enqueue(
            [
                OwnedAttempt(key, one, epoch, since_s + begin_result.left_s)
                for key, one in batch.items()
                if (begin_result := begun.get(key)) and begin_result.is_ours
            ]
        )


def result_for(
    assignment: DeliveryAssigned, begin_result: BeginResult | None, *, forgotten: bool = False
) -> HandlerResult:
    """The handler's result for an assignment."""
    if forgotten:
        return Drop("forgotten")
    if begin_result is None or (begin_result.outcome is None and not begin_result.is_new):
        return Drop("open")  # in progress; its worker will publish the result
    if begin_result.outcome is None:
        return Drop("begun")
    if begin_result.attempted is not None:
        return Emit(DeliveryAttempted.FromString(begin_result.attempted))
    return Emit(attempted_event(assignment, STALE, at_ms=clock.now_ms()))
