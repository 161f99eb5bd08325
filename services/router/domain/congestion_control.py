"""How much bulk mail a tick assigns, so that a little express mail does not wait behind it."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from contracts.router.v1.results_pb2 import Result

FIRST_WINDOW = 8  # when express mail meets congestion
WINDOW_MIN = 3
INTERVAL_S = 0.3  # the results of a batch arrive after about this time
INCREASE = 3
DECREASE = 0.5
EXPRESS_S = 1.0  # there is express mail for so long after an assignment
SPARSE_PER_S = 60.0  # more express mail than this is a load of its own


@dataclass(slots=True)
class BulkCongestionWindow:
    """A window that shrinks while delivery reports congestion, as that of TCP: additive increase,
    multiplicative decrease (RFC 5681), by marks instead of losses (RFC 3168). It is open without
    express mail, and with much of it.

    window: bulk messages that a tick may assign; not those in flight, because slow receivers must
    not use it up.
    """

    window: float = inf
    _express: int = 0  # assigned in this interval
    _is_sparse: bool = True  # in the last interval
    _express_s: float = -inf
    _congested_s: float = -inf
    _adjusted_s: float = -inf

    def record_results(self, results: Iterable[Result], *, now_s: float) -> None:
        if any(one.congested for one in results):
            self._congested_s = now_s

    def record_assigned(self, express: int, *, now_s: float) -> None:
        """Adjust the window: once per interval, but at once if it is open. express: messages of a
        tick."""
        self._express += express
        if express:
            self._express_s = now_s
        took_s = now_s - self._adjusted_s
        is_over = took_s >= INTERVAL_S
        if is_over:
            self._is_sparse = self._express <= SPARSE_PER_S * took_s
        if is_over or self.window == inf:
            self.window = self._next_window(now_s) if self._is_sparse else inf
        if is_over:
            self._adjusted_s, self._express = now_s, 0

    def _next_window(self, now_s: float) -> float:
        if now_s > self._express_s + EXPRESS_S:
            return inf
        if now_s > self._congested_s + INTERVAL_S:
            return self.window + INCREASE
        return FIRST_WINDOW if self.window == inf else max(WINDOW_MIN, self.window * DECREASE)
