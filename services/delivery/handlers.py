"""The door for events: an assignment becomes a row of the journal, then work for the sender."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.database import Transaction
from kernel.errors import Unavailable
from kernel.ids import time_of
from kernel.outcome import Drop, Emit, Outcome
from services.delivery.domain.ending import STALE, attempted
from services.delivery.domain.started import Key, Started
from services.delivery.store.journal import Begun, Days, Dead, Journal
from services.delivery.store.workers import Worker


@dataclass(frozen=True, slots=True)
class Handlers:
    """offer: the send queue."""

    journal: Journal
    worker: Worker
    days: Days
    offer: Callable[[Sequence[Started]], None]

    async def on_assigned(
        self, batch: Sequence[DeliveryAssigned], tx: Transaction
    ) -> list[Outcome]:
        """New ones are begun, late ones answered stale, known ones answered again."""
        kept = await self._kept(batch)
        epoch = self.worker.epoch
        begun = await self._begin(tx, kept, epoch=epoch)
        tx.after_commit(partial(self._send, kept, begun, epoch=epoch, since_s=clock.monotonic_s()))
        return [tell(one, begun.get(_key(one)), forgotten=one not in kept) for one in batch]

    async def _kept(self, batch: Sequence[DeliveryAssigned]) -> Sequence[DeliveryAssigned]:
        """Without those of days that the journal has forgotten; their partitions exist."""
        missing = self.days.missing(one.message_id for one in batch)
        if not missing:
            return batch
        now = clock.now()
        forgotten = {day for day in missing if self.days.forgotten(day, now)}
        await self.days.ensure(missing - forgotten)
        return [one for one in batch if time_of(UUID(one.message_id)).date() not in forgotten]

    async def _begin(
        self, tx: Transaction, batch: Sequence[DeliveryAssigned], *, epoch: int
    ) -> dict[Key, Begun]:
        try:
            return await self.journal.begin(tx, batch, epoch=epoch)
        except Dead as dead:
            self.worker.forget()
            raise Unavailable("the delivery journal's registration") from dead

    def _send(
        self,
        batch: Sequence[DeliveryAssigned],
        begun: dict[Key, Begun],
        *,
        epoch: int,
        since_s: float,
    ) -> None:
        self.offer(
            [
                Started(one, epoch, since_s + fate.left_s)
                for one in batch
                if (fate := begun.get(_key(one))) and fate.ours
            ]
        )


def tell(assignment: DeliveryAssigned, fate: Begun | None, *, forgotten: bool = False) -> Outcome:
    """What there is to say about an assignment at once."""
    if forgotten:
        return Drop("forgotten")
    if fate is None or (fate.outcome is None and not fate.new):
        return Drop("open")  # somebody is at it, and will tell
    if fate.outcome is None:
        return Drop("begun")
    if fate.attempted is not None:
        return Emit(DeliveryAttempted.FromString(fate.attempted))
    return Emit(attempted(assignment, STALE, at_ms=clock.now_ms()))


def _key(assignment: DeliveryAssigned) -> Key:
    return Key(assignment.message_id, assignment.attempt)
