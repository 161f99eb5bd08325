"""When the next batch begins: at once while little comes, after a window under load."""

from kernel import clock

BUSY_PER_S = 200.0  # below, a batch gains little by waiting, and its items would feel it
MEASURED_S = 0.3


class Pace:
    """A batch costs broker, database and this process as much as some twenty items.

    window_s: from the start of a batch to the start of the next, under load. It never holds back
    who has a full batch waiting: that is its caller's to know.
    """

    __slots__ = ("_began_s", "_busy", "_items", "_since_s", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._began_s = self._since_s = -MEASURED_S
        self._items = 0
        self._busy = False

    def begin(self, items: int) -> None:
        """A batch of so many begins now."""
        self._began_s = now_s = clock.monotonic_s()
        self._items += items
        if (measured_s := now_s - self._since_s) >= MEASURED_S:
            self._busy = self._items >= BUSY_PER_S * measured_s
            self._since_s, self._items = now_s, 0

    @property
    def busy(self) -> bool:
        return self._busy and self._window_s > 0

    @property
    def rest_s(self) -> float:
        """How long the next batch should gather yet; 0: not at all."""
        if not self.busy:
            return 0.0
        return max(0.0, self._began_s + self._window_s - clock.monotonic_s())
