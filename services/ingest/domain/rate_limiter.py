"""The rate limit of an API key (GCRA), with the figures for the response headers."""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

BURST_S = 1.0
ROUNDING = 1e-9


class RateLimitStatus(NamedTuple):
    """limit: requests per second. retry_after_s: 0 if the request is within the limit."""

    limit: int
    remaining: int
    reset_s: int
    retry_after_s: int


class RateLimiter:
    """Per key: `per_s` requests a second, with a burst of the same size (GCRA, ITU-T I.371).

    replicas: the number of processes that serve requests; each admits its part of the limit, and
    takes it that the others are as busy. A client that stays with one of them gets that part only.
    If there are more of them than requests in a second, each admits one at once.

    A key whose theoretical arrival time has passed has no state; such keys are removed once a
    second.
    """

    def __init__(self, per_s: int, replicas: Callable[[], int] = lambda: 1) -> None:
        self._per_s = per_s
        self._replicas = replicas
        self._arrivals: dict[str, float] = {}  # theoretical arrival time by key
        self._sweep_at_s = 0.0
        self._used: set[str] = set()

    def take_used(self, now_s: float) -> list[str]:
        """The keys that were used since the last call. A request costs nothing for it."""
        self._sweep(now_s)
        used, self._used = self._used, set()
        return sorted(used)

    def __len__(self) -> int:
        return len(self._arrivals)

    def spend(self, key_id: str, now_s: float) -> RateLimitStatus:
        """now_s: monotonic time."""
        if now_s >= self._sweep_at_s:
            self._sweep(now_s)
        replicas = self._replicas()
        interval_s = replicas / self._per_s
        burst_s = max(BURST_S, interval_s)
        arrival = max(self._arrivals.get(key_id, 0.0), now_s)
        ahead_s = arrival - now_s
        if ahead_s > burst_s - interval_s + ROUNDING:
            return RateLimitStatus(self._per_s, 0, 1, max(1, ceil(ahead_s - burst_s + interval_s)))
        self._arrivals[key_id] = arrival + interval_s
        remaining = int((burst_s - ahead_s) * self._per_s + ROUNDING) - replicas
        return RateLimitStatus(self._per_s, max(0, remaining), 1, 0)

    def _sweep(self, now_s: float) -> None:
        self._sweep_at_s = now_s + BURST_S
        self._used.update(self._arrivals)
        self._arrivals = {key_id: at for key_id, at in self._arrivals.items() if at > now_s}
