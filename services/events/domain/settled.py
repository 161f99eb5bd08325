"""Up to which position the log is complete: transactions commit in another order."""

from collections import deque
from uuid import UUID

from kernel.ids import NIL

# How far the clocks of the processes that record events may differ.
CLOCK_DIFFERENCE_MS = 200
OBSERVATIONS_MAX = 100


class SettledPositions:
    """A transaction of events has an id before it chooses positions. So once every transaction with
    a lower id than one that began at some moment has ended, no position before that moment can
    appear any more."""

    def __init__(self) -> None:
        self._observed: deque[tuple[int, int]] = deque()
        self._settled_ms = 0

    @property
    def bound(self) -> UUID:
        """All positions below it are visible, or never will be; NIL if none is known."""
        return UUID(int=self._settled_ms << 80) if self._settled_ms else NIL

    def observe(self, *, transaction_id: int, oldest_running: int, began_ms: int) -> None:
        """transaction_id: of a transaction that got it after began_ms. oldest_running: the lowest
        id of a running transaction, at the same time."""
        if len(self._observed) < OBSERVATIONS_MAX:
            self._observed.append((transaction_id, began_ms - CLOCK_DIFFERENCE_MS))
        while self._observed and self._observed[0][0] <= oldest_running:
            self._settled_ms = max(self._settled_ms, self._observed.popleft()[1])
