"""The state of queues after a tick: active, empty, due later, or blocked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from services.router.domain.drr import ActiveQueue, BlockedQueue, limiting_scope
from services.router.domain.message import DueMessage
from services.router.domain.scopes import LimitScopes

# To deactivate a queue and to activate it again costs as much as four reads; 12 happen a second.
LINGER_S = 0.3
TRACKED_MAX = 10_000


class QueueRemainder(NamedTuple):
    """What remains in a queue: when its next row is due. was_served: a row has left it."""

    was_served: bool
    due_s: float | None


class LingerTracker:
    """Queues that receive messages again and again. They stay active for a moment while empty,
    because their next message is about to come."""

    def __init__(self) -> None:
        self._served_at_s: dict[str, float] = {}

    def should_linger(self, queue_id: str, *, was_served: bool, now_s: float) -> bool:
        """For a queue that is empty now. was_served: it was not empty a moment ago."""
        lingers = now_s - self._served_at_s.get(queue_id, 0.0) <= LINGER_S
        if was_served:
            self._served_at_s[queue_id] = now_s
        elif not lingers:
            self._served_at_s.pop(queue_id, None)
        if len(self._served_at_s) > TRACKED_MAX:
            self._served_at_s.clear()
        return lingers


@dataclass(slots=True)
class Round:
    """served: queues with the time of their next work (None: empty), to be saved.
    next_due_s: when the first of the queues that were read is due again."""

    served: list[tuple[ActiveQueue, float | None]] = field(default_factory=list)
    blocked: list[BlockedQueue] = field(default_factory=list)
    next_due_s: float = inf


def finish_round(
    active: Sequence[ActiveQueue],
    remainders: Mapping[str, QueueRemainder],
    *,
    blocked: Sequence[BlockedQueue],
    blocked_by: Callable[[ActiveQueue], BlockedQueue | None],
    linger: LingerTracker,
    now_s: float,
) -> Round:
    """remainders: of the queues that were served. blocked: those that were blocked before.

    A queue that was not served stays as it is, and comes first the next time, because all others
    go behind it. If all were served, a queue that stays active needs no new place.
    """
    all_served = len(remainders) + len(blocked) == len(active)
    finished = Round(blocked=[*blocked], next_due_s=inf if all_served else now_s)
    for queue in (queue for queue in active if queue.queue_id in remainders):
        was_served, due_s = remainders[queue.queue_id]
        if due_s is None:
            next_s = None
            lingers = linger.should_linger(queue.queue_id, was_served=was_served, now_s=now_s)
            finished.next_due_s = min(finished.next_due_s, now_s + LINGER_S if lingers else inf)
        elif due_s > now_s:
            next_s, lingers = due_s, False
            finished.next_due_s = min(finished.next_due_s, due_s)
        elif blocking := blocked_by(queue):
            finished.blocked.append(blocking)
            continue
        else:
            next_s, lingers = now_s, True
            finished.next_due_s = now_s
        if not (lingers and all_served):
            finished.served.append((queue, next_s))
    return finished


def due_rows(rows: Sequence[DueMessage], quota: int, now_s: float) -> Sequence[DueMessage]:
    """The due rows, at most as many as the quota. They are in order."""
    granted = rows[:quota]
    return [row for row in granted if row.due_s <= now_s]


def remainder_of(rows: Sequence[DueMessage], assigned: int) -> QueueRemainder:
    """assigned: how many rows, from the first, have left the queue."""
    return QueueRemainder(assigned > 0, rows[assigned].due_s if len(rows) > assigned else None)


def blocked_by(queue: ActiveQueue, *, scopes: LimitScopes, now_s: float) -> BlockedQueue | None:
    """The scope that limits a queue with more to send."""
    keys = scopes.scopes_of(queue.queue)
    limiting = limiting_scope(keys, {key: scopes.capacity(key, now_s=now_s) for key in keys})
    return BlockedQueue(queue.queue_id, *limiting) if limiting else None
