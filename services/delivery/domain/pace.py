"""The pace of an egress source at a site: the rate that router grants, kept at the wire.

Router paces assignments. They may still accumulate here while a receiving server is slow, and must
not leave all at once when it recovers.
"""

from math import ceil

TURNS_PER_S = 12  # a burst is what is due in one turn


class PaceLimiter:
    """A maximum in every rolling second: GCRA (ITU-T I.371). per_second 0: no limit.

    With burst b and interval T, GCRA admits up to b + (1 s / T) - 1 in a second, so that
    T = 1 / (rate - b + 1).
    """

    def __init__(self) -> None:
        self.per_second = 0.0
        self._tat_s = 0.0  # theoretical arrival time

    def delay_s(self, now_s: float) -> float:
        """Until the next message may be sent; 0 if it may now."""
        if not self.per_second:
            return 0.0
        burst, interval_s = self._parameters()
        return max(0.0, self._tat_s - (burst - 1) * interval_s - now_s)

    def spend(self, now_s: float) -> None:
        """A message is sent now."""
        if self.per_second:
            _, interval_s = self._parameters()
            self._tat_s = max(self._tat_s, now_s) + interval_s

    def _parameters(self) -> tuple[int, float]:
        burst = max(1, ceil(self.per_second / TURNS_PER_S))
        return burst, 1 / (self.per_second - burst + 1)
