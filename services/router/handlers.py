"""The door for events: load, decide, save, return outcomes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.delivery.v1.events_pb2 import (
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
)
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.events_pb2 import MessageClosed, MessageDelayed
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel import ids, metrics
from kernel.database import Transaction
from kernel.outcome import Drop, Emit, Outcome
from kernel.table import Table
from kernel.topics import event_id
from services.router.domain.answer import (
    NOW_S,
    Move,
    Strike,
    policy_of,
    settle,
    settle_alone,
    strike_of,
    told,
)
from services.router.domain.arrival import Arrival, address_hash, arrive, blocked
from services.router.domain.message import RESOLVING, State
from services.router.domain.retry import RetryPolicy
from services.router.store import answers, arrivals, suppressions
from services.router.store.partitions import Partitions
from services.router.store.wake import Waker


@dataclass(frozen=True, slots=True)
class Handlers:
    """site_of: the known site of a domain. waker: tells the owner of work. answered: tells an owner
    in this process that it may have room again."""

    tenants: Table[Tenant]
    site_of: Callable[[str], str | None]
    retry: RetryPolicy
    partitions: Partitions
    waker: Waker
    answered: Callable[[], None]

    async def on_screened(self, batch: Sequence[MessageScreened], tx: Transaction) -> list[Outcome]:
        """A screened message waits, is held for review, or has failed."""
        arriving = [arrive(event, self.site_of) for event in batch]
        forgotten = await self.partitions.prepare(tx, [a.message_id for a in arriving])
        fresh = [a for a in arriving if a.message_id not in forgotten]
        moved = await arrivals.insert(tx, fresh) if fresh else {}
        if moved:
            names = any(a.site == RESOLVING for a in fresh)
            await self.waker.work(tx, names=names)
        return [self._told(a, moved, forgotten) for a in arriving]

    @staticmethod
    def _told(arrival: Arrival, moved: dict[str, float], forgotten: set[str]) -> Outcome:
        if arrival.message_id in forgotten:
            return Drop("forgotten")
        if arrival.message_id not in moved:
            return Drop("repeat")
        if arrival.state is not State.FAILED:
            return Emit()
        metrics.closed.labels(arrival.state).inc()
        return Emit(blocked(arrival, moved[arrival.message_id]))

    async def on_attempted(
        self, batch: Sequence[DeliveryAttempted], tx: Transaction
    ) -> list[Outcome]:
        """An answer moves the row that waits for it; any other has no consequence."""
        moved = await answers.save(tx, await self._moves(batch, tx))
        events = {move.event.message_id: told(move, row) for move, row in moved}
        await suppressions.count_moves(tx, [(move, events[row.message_id]) for move, row in moved])
        if any(move.state is State.WAITING and move.due_s == NOW_S for move, _ in moved):
            await self.waker.work(tx)
        tx.after_commit(self.answered)
        states = {(row.message_id, row.attempt): move.state for move, row in moved}
        return [
            outcome(states.get((event.message_id, event.attempt)), events.get(event.message_id))
            for event in batch
        ]

    async def _moves(self, batch: Sequence[DeliveryAttempted], tx: Transaction) -> list[Move]:
        """Most answers say what follows; a row is only asked for its tries and its time."""
        alone = [settle_alone(event) for event in batch]
        open_ones = [event for event, move in zip(batch, alone, strict=True) if move is None]
        moves = [move for move in alone if move]
        if open_ones:
            loaded = await answers.load(tx, open_ones)
            moves += [
                settle(
                    event,
                    row,
                    now_s=loaded.now_s,
                    policy=policy_of(self.tenants.get(event.tenant_id), self.retry),
                )
                for event in open_ones
                if (row := loaded.rows.get(event.message_id)) and row.attempt == event.attempt
            ]
        return moves

    async def on_feedback(
        self, batch: Sequence[BounceReceived | ComplaintReceived], tx: Transaction
    ) -> list[Outcome]:
        """What comes back as mail counts once, and never for test mail."""
        counted = [(event, against) for event in batch if (against := grievance(event))]
        for origin in ("complaint", "hard_bounce"):
            some = [pair for pair in counted if origin_of(pair[0]) == origin]
            await suppressions.count(
                tx,
                [against for _, against in some],
                events=[event_id(event) for event, _ in some],
                ids=[ids.uuid7_text() for _ in some],
                origin=origin,
            )
        return [Emit() for _ in batch]


def outcome(state: State | None, event: MessageClosed | MessageDelayed | None) -> Outcome:
    """state: where this answer moved its row, if it did."""
    if state is None:
        return Drop("repeat")
    if state is not State.WAITING:
        metrics.closed.labels(state).inc()
    return Emit() if event is None else Emit(event)


def origin_of(event: BounceReceived | ComplaintReceived) -> str:
    return "complaint" if isinstance(event, ComplaintReceived) else "hard_bounce"


def grievance(event: BounceReceived | ComplaintReceived) -> Strike | None:
    if event.test:
        return None
    hashed = address_hash(event.recipient)
    if isinstance(event, ComplaintReceived):
        return Strike(event.tenant_id, hashed, event.recipient, "complaint", 1, event.message_id)
    return strike_of(
        event.bounce_class,
        tenant_id=event.tenant_id,
        address_hash=hashed,
        address=event.recipient,
        message_id=event.message_id,
    )
