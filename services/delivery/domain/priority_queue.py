"""The order in which attempts begin that wait for the same connections."""

from collections import deque

from services.delivery.domain.owned_attempt import OwnedAttempt

EXPRESS_WEIGHT = 10  # attempts of express mail for one of bulk mail, while both wait


class PriorityQueue:
    """Attempts in the order of their arrival; express mail before bulk, which never starves."""

    def __init__(self) -> None:
        self._express: deque[OwnedAttempt] = deque()
        self._bulk: deque[OwnedAttempt] = deque()
        self._passed = 0  # express attempts since bulk mail had a turn

    def __len__(self) -> int:
        return len(self._express) + len(self._bulk)

    @property
    def express(self) -> int:
        """Number of express attempts."""
        return len(self._express)

    def push(self, attempt: OwnedAttempt) -> None:
        (self._express if attempt.is_express else self._bulk).append(attempt)

    def pop_express(self) -> OwnedAttempt:
        """Raises IndexError if there is none."""
        self._passed += bool(self._bulk)
        return self._express.popleft()

    def pop(self) -> OwnedAttempt:
        """Raises IndexError if it is empty."""
        if self._bulk and (not self._express or self._passed >= EXPRESS_WEIGHT):
            self._passed = 0
            return self._bulk.popleft()
        return self.pop_express()

    def clear(self) -> list[OwnedAttempt]:
        """The attempts that were queued."""
        removed = [*self._express, *self._bulk]
        self._express.clear()
        self._bulk.clear()
        return removed
