"""The next state of each queue after a tick: active, empty, due later, or blocked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from services.router.domain.dispatch import QueueRemainder
from services.router.domain.drr import ActiveQueue, BlockedQueue

# Deactivating a queue and activating it again costs as much as four reads, and there are 12 ticks a
# second.
LINGER_S = 0.3
FIRST_DUE_LAG_S = 1.0  # of a queue that is not written otherwise
TRACKED_MAX = 10_000


class LingerTracker:
    """Tracks queues that receive messages again and again. Such a queue stays active for LINGER_S
    while it is empty, because its next message is probably near."""

    def __init__(self) -> None:
        self._served_at_s: dict[str, float] = {}

    def should_linger(self, queue_id: str, *, was_served: bool, now_s: float) -> bool:
        """True if a queue that is empty now should stay active. was_served: it had a due row."""
        lingers = now_s - self._served_at_s.get(queue_id, 0.0) <= LINGER_S
        if was_served:
            self._served_at_s[queue_id] = now_s
        elif not lingers:
            self._served_at_s.pop(queue_id, None)
        if len(self._served_at_s) > TRACKED_MAX:
            self._served_at_s.clear()
        return lingers


class ServedQueue(NamedTuple):
    """A queue to save. next_s: when it has work, first_due_s: when its first message is due; None:
    it is empty."""

    queue: ActiveQueue
    next_s: float | None
    first_due_s: float | None


@dataclass(slots=True)
class Round:
    """next_due_s: when the first of the queues that were read is due again."""

    served: list[ServedQueue] = field(default_factory=list)
    blocked: list[BlockedQueue] = field(default_factory=list)
    next_due_s: float = inf


def finish_round(
    active: Sequence[ActiveQueue],
    remainders: Mapping[str, QueueRemainder],
    *,
    blocked: Sequence[BlockedQueue],
    as_blocked: Callable[[ActiveQueue], BlockedQueue | None],
    linger: LingerTracker,
    now_s: float,
) -> Round:
    """remainders: of the queues that were served. blocked: queues that the allocation blocked.

    A queue that was not served does not change, and comes first in the next tick, because all
    others move behind it. If all were served, a queue that stays active is not moved.
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
        else:
            next_s, lingers = now_s, due_s < queue.first_due_s + FIRST_DUE_LAG_S
            if blocking := as_blocked(queue):
                finished.blocked.append(blocking)
                if lingers:
                    continue
            else:
                finished.next_due_s = now_s
        if not (lingers and all_served):
            finished.served.append(ServedQueue(queue, next_s, due_s))
    return finished
