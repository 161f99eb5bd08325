"""The door for events: an assignment becomes a row of the journal, then work for the sender."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.database import Transaction
from kernel.days import day_of
from kernel.errors import Unavailable
from kernel.outcome import Drop, Emit, Outcome
from services.delivery.domain.ending import STALE, attempted
from services.delivery.domain.started import Key, Started
from services.delivery.store.days import JournalDays
from services.delivery.store.journal import Begun, Dead, Journal
from services.delivery.store.workers import Worker

Batch = Mapping[Key, DeliveryAssigned]


@dataclass(frozen=True, slots=True)
class Handlers:
    """offer: the send queue."""

    journal: Journal
    worker: Worker
    days: JournalDays
    offer: Callable[[Sequence[Started]], None]

    async def on_assigned(
        self, batch: Sequence[DeliveryAssigned], tx: Transaction
    ) -> list[Outcome]:
        """New ones are begun, late ones answered stale, known ones answered again."""
        known = {Key(one.message_id, one.attempt): one for one in batch}
        kept = await self._kept(known)
        epoch = self.worker.epoch
        begun = await self._begin(tx, kept, epoch=epoch)
        tx.after_commit(partial(self._send, kept, begun, epoch=epoch, since_s=clock.monotonic_s()))
        return [tell(one, begun.get(key), forgotten=key not in kept) for key, one in known.items()]

    async def _kept(self, batch: Batch) -> Batch:
        """Without those of days that the journal has forgotten; their partitions exist."""
        days = {key: day_of(key.message_id) for key in batch}
        forgotten = await self.days.ensure(days.values())
        return {key: one for key, one in batch.items() if days[key] not in forgotten}

    async def _begin(self, tx: Transaction, batch: Batch, *, epoch: int) -> dict[Key, Begun]:
        try:
            return await self.journal.begin(tx, batch, epoch=epoch)
        except Dead as dead:
            self.worker.forget()
            raise Unavailable("the delivery journal's registration") from dead

    def _send(
        self, batch: Batch, begun: Mapping[Key, Begun], *, epoch: int, since_s: float
    ) -> None:
        self.offer(
            [
                Started(key, one, epoch, since_s + fate.left_s)
                for key, one in batch.items()
                if (fate := begun.get(key)) and fate.ours
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
