"""The next state of each queue after a tick: active, empty, due later, or blocked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from services.router.domain.deficit_round_robin import ActiveQueue, BlockedQueue
from services.router.domain.dispatch import QueueAfterDispatch
from services.router.domain.message import Priority

# Deactivating a queue and activating it again costs as much as four reads, and there are 12 ticks a
# second.
STAYS_ACTIVE_S = 0.3
FIRST_DUE_LAG_S = 1.0  # of a queue that is not written otherwise
DUE_MARGIN_S = 0.001  # times lose their last digits on the way to the database
TRACKED_MAX = 10_000


class RecentQueues:
    """Queues that receive messages again and again. Such a queue stays active for STAYS_ACTIVE_S
    while it is empty, because its next message is probably near."""

    def __init__(self) -> None:
        self._served_at_s: dict[str, float] = {}

    def stays_active(self, queue_id: str, *, was_served: bool, now_s: float) -> bool:
        """True if a queue that is empty now should stay active. was_served: it had a due row."""
        stays = now_s - self._served_at_s.get(queue_id, 0.0) <= STAYS_ACTIVE_S
        if was_served:
            self._served_at_s[queue_id] = now_s
        elif not stays:
            self._served_at_s.pop(queue_id, None)
        if len(self._served_at_s) > TRACKED_MAX:
            self._served_at_s.clear()
        return stays


class QueueQuery(NamedTuple):
    """The first rows of a queue to read: as many as its quota, and one more. first_due_s: no row is
    due before."""

    queue_id: str
    quota: int
    first_due_s: float


class _LastTurn(NamedTuple):
    """served_in: the last round that served a queue. first_due_s: when its first row was due then,
    while the queue has this version."""

    served_in: int
    version: int = 0
    first_due_s: float = -inf


_NEVER = _LastTurn(0)


class LastTurns:
    """What is known of the active queues since the last rounds, and not written for each of them.

    It makes the queues take turns while one tick reads them all; if there are more, their times in
    the database do.
    """

    def __init__(self) -> None:
        self._turns: dict[str, _LastTurn] = {}
        self._round = 0

    def sort(self, active: Iterable[ActiveQueue]) -> list[ActiveQueue]:
        """The queues that were served longest ago come first."""
        return sorted(active, key=lambda queue: self._turn_of(queue).served_in)

    def to_read(self, active: Iterable[ActiveQueue], quotas: Mapping[str, int]) -> list[QueueQuery]:
        return [
            QueueQuery(one.queue_id, quotas[one.queue_id], self._first_due_s(one))
            for one in active
            if one.queue_id in quotas
        ]

    def record(
        self, active: Iterable[ActiveQueue], remainders: Mapping[str, QueueAfterDispatch]
    ) -> None:
        """Only the queues that are active now are remembered."""
        self._round += 1
        self._turns = {
            one.queue_id: self._turn_after(one, remainders.get(one.queue_id)) for one in active
        }

    def _turn_of(self, queue: ActiveQueue) -> _LastTurn:
        return self._turns.get(queue.queue_id, _NEVER)

    def _first_due_s(self, queue: ActiveQueue) -> float:
        """New work raises the version."""
        turn = self._turn_of(queue)
        return turn.first_due_s if turn.version == queue.version else queue.first_due_s

    def _turn_after(self, queue: ActiveQueue, remainder: QueueAfterDispatch | None) -> _LastTurn:
        if remainder is None:
            return self._turn_of(queue)
        due_s = remainder.due_s
        first_due_s = queue.first_due_s if due_s is None else due_s - DUE_MARGIN_S
        return _LastTurn(self._round, queue.version, first_due_s)


class ServedQueue(NamedTuple):
    """A queue to save. next_s: when it has work, first_due_s: when its first message is due; None:
    it is empty."""

    queue: ActiveQueue
    next_s: float | None
    first_due_s: float | None


@dataclass(slots=True)
class Round:
    """next_due_s: when the first of the queues that were read is due again. express_due_s: the same
    for those of express mail."""

    served: list[ServedQueue] = field(default_factory=list)
    blocked: list[BlockedQueue] = field(default_factory=list)
    next_due_s: float = inf
    express_due_s: float = inf

    def record_due(self, queue: ActiveQueue, due_s: float) -> None:
        self.next_due_s = min(self.next_due_s, due_s)
        if queue.queue.priority is not Priority.BULK:
            self.express_due_s = min(self.express_due_s, due_s)

    def record_unserved(
        self,
        active: Sequence[ActiveQueue],
        remainders: Mapping[str, QueueAfterDispatch],
        *,
        now_s: float,
    ) -> None:
        """They are due, unless they are blocked."""
        blocked = {one.queue_id for one in self.blocked}
        for queue in active:
            if queue.queue_id not in remainders and queue.queue_id not in blocked:
                self.record_due(queue, now_s)


def finish_round(
    active: Sequence[ActiveQueue],
    remainders: Mapping[str, QueueAfterDispatch],
    *,
    blocked: Sequence[BlockedQueue],
    as_blocked: Callable[[ActiveQueue], BlockedQueue | None],
    recent: RecentQueues,
    is_complete: bool,
    now_s: float,
) -> Round:
    """remainders: of the queues that were served. blocked: queues that the allocation blocked.
    is_complete: all active queues were read.

    A queue that was not served does not change, and comes first in the next tick, because all
    others move behind it. If all were read or all were served, a queue that stays active is not
    moved: each move leaves index entries, which stay as long as the oldest transaction.
    """
    all_served = len(remainders) + len(blocked) == len(active)
    keeps_place = all_served or is_complete
    finished = Round(blocked=[*blocked])
    finished.record_unserved(active, remainders, now_s=now_s)
    for queue in (queue for queue in active if queue.queue_id in remainders):
        was_served, due_s = remainders[queue.queue_id]
        if due_s is None:
            next_s = None
            lingers = recent.stays_active(queue.queue_id, was_served=was_served, now_s=now_s)
            finished.record_due(queue, now_s + STAYS_ACTIVE_S if lingers else inf)
        elif due_s > now_s:
            next_s, lingers = due_s, False
            finished.record_due(queue, due_s)
        else:
            next_s, lingers = now_s, due_s < queue.first_due_s + FIRST_DUE_LAG_S
            if blocking := as_blocked(queue):
                finished.blocked.append(blocking)
                if lingers:
                    continue
            else:
                finished.record_due(queue, now_s)
        if not (lingers and keeps_place):
            finished.served.append(ServedQueue(queue, next_s, due_s))
    return finished
