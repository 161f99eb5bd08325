"""What a tick of the scheduler decided."""

from typing import NamedTuple

from kernel.outbox import OutboxEntry


class TickResult(NamedTuple):
    """has_bulk: bulk mail is assigned. queues, events: the number that was read, and decided.
    next_s: when there is something to do. has_due: queues with later work have become due."""

    entry: OutboxEntry
    has_bulk: bool
    queues: int
    events: int
    now_s: float
    next_s: float
    has_due: bool
