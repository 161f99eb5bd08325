"""The counters of the ledger as they are stored, and which of them to save."""

from typing import NamedTuple

from services.router.domain.limits import MICROS_PER_S, GcraLimiter, WindowCounter

RATE_KEPT_S = 60.0  # a stored rate outlives its last message by this long
# Counters without a limit are saved this long after they have changed: most tenants have no limits,
# and their counters would be most of what a tick writes. A limit that is set after a takeover may
# miss what was counted in this time before it.
UNLIMITED_SAVED_S = 10.0


class CounterRow(NamedTuple):
    """A counter as stored: an absolute value, because only the scheduler writes it."""

    scope: str
    window_key: str
    value: int
    expires_s: float


class ChangedCounters:
    """The counters that have changed since they were saved."""

    def __init__(self) -> None:
        self._now: dict[tuple[str, str], CounterRow] = {}
        # with the time of the first change, oldest first
        self._later: dict[tuple[str, str], tuple[float, CounterRow]] = {}

    def record_window(
        self, scope: str, counter: WindowCounter, bucket: int, *, is_limited: bool, now_s: float
    ) -> None:
        """bucket: the one that has changed."""
        key = scope, f"{counter.window.name}/{bucket}"
        row = CounterRow(*key, counter.buckets[bucket], counter.window.expires_at_s(bucket))
        if is_limited:
            self._later.pop(key, None)
            self._now[key] = row
        else:
            changed_at_s, _ = self._later.get(key, (now_s, row))
            self._later[key] = changed_at_s, row

    def record_rate(self, scope: str, limiter: GcraLimiter) -> None:
        expires_s = limiter.tat_us / MICROS_PER_S + RATE_KEPT_S
        row = CounterRow(scope, limiter.rate.name, limiter.tat_us, expires_s)
        self._now[scope, row.window_key] = row

    def drain(self, now_s: float) -> list[CounterRow]:
        """The counters to save now."""
        changed, self._now = list(self._now.values()), {}
        while self._later:
            key, (changed_at_s, row) = next(iter(self._later.items()))
            if now_s < changed_at_s + UNLIMITED_SAVED_S:
                break
            del self._later[key]
            changed.append(row)
        return changed
