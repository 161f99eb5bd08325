"""Limits: rates (GCRA), rolling windows per hour and day, and messages in flight.

The state is mutable: the scheduler holds it in memory, saves the changes in the transaction that
assigns, and reads all of it again after a transaction has failed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, floor, inf
from typing import NamedTuple

TICKS_PER_S = 12  # of the scheduler, roughly; with a burst of 1 no rate could exceed it
MICROS_PER_S = 1_000_000


class Capacity(NamedTuple):
    """available: messages that are admitted now. available_at_s: if none, when one is admitted.
    limited_by: the limit that decides."""

    available: int
    available_at_s: float = 0.0
    limited_by: str = ""


UNLIMITED = Capacity(1_000_000_000)


def tightest(*capacities: Capacity) -> Capacity:
    """The smallest capacity; if some are exhausted, the one that has capacity again last."""
    exhausted = [capacity for capacity in capacities if capacity.available <= 0]
    if exhausted:
        return max(exhausted, key=lambda capacity: capacity.available_at_s)
    return min(capacities, key=lambda capacity: capacity.available)


@dataclass(slots=True)
class GcraLimiter:
    """A maximum per second that holds in every rolling second: GCRA (ITU-T I.371).

    With burst b and interval T, GCRA admits up to b + (1 s / T) - 1 in a second. To stay within the
    rate, T = 1 / (rate - b + 1). Times are whole microseconds, as in the row.
    """

    tat_us: int = 0  # theoretical arrival time

    def capacity(self, per_second: int, *, now_s: float) -> Capacity:
        burst, interval_us = gcra_parameters(per_second)
        backlog_us = max(self.tat_us - round(now_s * MICROS_PER_S), 0)
        available = (burst * interval_us - backlog_us) // interval_us
        if available >= 1:
            return Capacity(available, limited_by="per_second")
        return Capacity(0, (self.tat_us - (burst - 1) * interval_us) / MICROS_PER_S, "per_second")

    def spend(self, number: int, per_second: int, *, now_s: float) -> None:
        if number:
            _, interval_us = gcra_parameters(per_second)
            self.tat_us = max(self.tat_us, round(now_s * MICROS_PER_S)) + number * interval_us

    def refund(self, number: int, per_second: int, *, spent_at_s: float) -> None:
        """Refund only capacity that the current burst still counts. Older capacity has lapsed; a
        refund of it would exceed the rate now."""
        burst, interval_us = gcra_parameters(per_second)
        spent_at_us = round(spent_at_s * MICROS_PER_S)
        if spent_at_us >= self.tat_us - burst * interval_us:
            self.tat_us = max(self.tat_us - number * interval_us, spent_at_us)


def gcra_parameters(per_second: int) -> tuple[int, int]:
    """Burst and interval, in microseconds, of a rate."""
    burst = max(1, ceil(per_second / TICKS_PER_S))
    return burst, ceil(MICROS_PER_S / (per_second - burst + 1))


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """A rolling window in buckets. The oldest bucket counts in full, so that no window exceeds the
    limit."""

    name: str
    width_s: int
    bucket_s: int

    def bucket(self, at_s: float) -> int:
        return floor(at_s / self.bucket_s)

    def oldest_bucket(self, now_s: float) -> int:
        return floor((now_s - self.width_s) / self.bucket_s)

    def expires_at_s(self, bucket: int) -> float:
        """When a bucket no longer counts."""
        return (bucket + 1) * self.bucket_s + float(self.width_s)


COUNTERS_MIN = 10_000  # with fewer counters, idle ones are not dropped
HOUR = RollingWindow("per_hour", 3600, 300)
DAY = RollingWindow("per_day", 86400, 3600)
WINDOWS = {window.name: window for window in (HOUR, DAY)}


@dataclass(slots=True)
class WindowCounter:
    """The messages that were assigned in the last window, by bucket."""

    window: RollingWindow
    buckets: dict[int, int] = field(default_factory=dict)

    def drop_expired(self, now_s: float) -> bool:
        """Drop the buckets that no longer count. True if none remains."""
        oldest = self.window.oldest_bucket(now_s)
        for bucket in [bucket for bucket in self.buckets if bucket < oldest]:
            del self.buckets[bucket]
        return not self.buckets

    def capacity(self, limit: int, *, now_s: float) -> Capacity:
        self.drop_expired(now_s)
        used = sum(self.buckets.values())
        if used < limit:
            return Capacity(limit - used, limited_by=self.window.name)
        return Capacity(0, self._available_at_s(limit, used), self.window.name)

    def _available_at_s(self, limit: int, used: int) -> float:
        for bucket in sorted(self.buckets):
            used -= self.buckets[bucket]
            if used < limit:
                return self.window.expires_at_s(bucket)
        return inf  # the limit is 0

    def spend(self, count: int, *, now_s: float) -> int:
        """Returns the bucket that counts them."""
        bucket = self.window.bucket(now_s)
        if bucket not in self.buckets:
            self.drop_expired(now_s)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        return bucket

    def refund(self, count: int, *, spent_at_s: float) -> int | None:
        """The bucket that is refunded; None if it no longer counts."""
        bucket = self.window.bucket(spent_at_s)
        if bucket not in self.buckets:
            return None
        self.buckets[bucket] = max(0, self.buckets[bucket] - count)
        return bucket


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Limits of a tenant, or of an egress source at a site; 0: unlimited."""

    per_second: int = 0
    per_hour: int = 0
    per_day: int = 0


NO_LIMITS = RateLimits()


class CounterRow(NamedTuple):
    """A counter as stored: an absolute value, because only the scheduler writes it."""

    scope: str
    window_key: str
    value: int
    expires_s: float


class Usage:
    """The usage of each scope. Scopes are tenants, and sources at sites that have a rate limit."""

    def __init__(self) -> None:
        self._rates: dict[str, GcraLimiter] = {}
        self._counters: dict[tuple[str, str], WindowCounter] = {}
        self._changed: dict[tuple[str, str], CounterRow] = {}
        self._counters_max = COUNTERS_MIN  # counters, before idle ones are dropped

    def load(self, row: CounterRow) -> None:
        if row.window_key == "rate":
            self._rates[row.scope] = GcraLimiter(row.value)
            return
        name, _, bucket = row.window_key.partition("/")
        self._counter(row.scope, WINDOWS[name]).buckets[int(bucket)] = row.value

    def capacity(self, scope: str, limits: RateLimits, *, now_s: float) -> Capacity:
        """The capacity under all limits."""
        capacities = [UNLIMITED]
        if limits.per_second:
            rate = self._rates.setdefault(scope, GcraLimiter())
            capacities.append(rate.capacity(limits.per_second, now_s=now_s))
        if limits.per_hour:
            capacities.append(self._counter(scope, HOUR).capacity(limits.per_hour, now_s=now_s))
        if limits.per_day:
            capacities.append(self._counter(scope, DAY).capacity(limits.per_day, now_s=now_s))
        return tightest(*capacities)

    def spend(self, scope: str, count: int, *, limits: RateLimits, now_s: float) -> None:
        """Spend under all limits. Windows count even without a limit, because one may be set
        later."""
        if len(self._counters) > self._counters_max:
            self._drop_idle(now_s)
        if limits.per_second:
            rate = self._rates.setdefault(scope, GcraLimiter())
            rate.spend(count, limits.per_second, now_s=now_s)
            self._record_rate(scope, rate)
        for window in WINDOWS.values():
            counter = self._counter(scope, window)
            self._record(scope, counter, counter.spend(count, now_s=now_s))

    def refund(self, scope: str, count: int, *, limits: RateLimits, spent_at_s: float) -> None:
        """Undo a spend for attempts that made no connection."""
        if limits.per_second and (rate := self._rates.get(scope)):
            rate.refund(count, limits.per_second, spent_at_s=spent_at_s)
            self._record_rate(scope, rate)
        for window in WINDOWS.values():
            counter = self._counter(scope, window)
            bucket = counter.refund(count, spent_at_s=spent_at_s)
            if bucket is not None:
                self._record(scope, counter, bucket)

    def drain_changes(self) -> list[CounterRow]:
        """The counters that have changed since the last call."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def _drop_idle(self, now_s: float) -> None:
        """Drop scopes without recent usage. Called when the number of counters has doubled."""
        counts, rates = self._counters.items(), self._rates.items()
        self._counters = {
            key: counter for key, counter in counts if not counter.drop_expired(now_s)
        }
        self._rates = {scope: rate for scope, rate in rates if rate.tat_us > now_s * MICROS_PER_S}
        self._counters_max = max(COUNTERS_MIN, 2 * len(self._counters))

    def _counter(self, scope: str, window: RollingWindow) -> WindowCounter:
        counter = self._counters.get((scope, window.name))
        if counter is None:
            counter = self._counters[scope, window.name] = WindowCounter(window)
        return counter

    def _record(self, scope: str, counter: WindowCounter, bucket: int) -> None:
        window_key = f"{counter.window.name}/{bucket}"
        expires_s = counter.window.expires_at_s(bucket)
        self._changed[scope, window_key] = CounterRow(
            scope, window_key, counter.buckets[bucket], expires_s
        )

    def _record_rate(self, scope: str, rate: GcraLimiter) -> None:
        row = CounterRow(scope, "rate", rate.tat_us, rate.tat_us / MICROS_PER_S + 60)
        self._changed[scope, "rate"] = row


class InFlight:
    """Assignments without an attempt result, per egress source and site. Only a result frees
    one."""

    def __init__(self) -> None:
        self._count: dict[tuple[str, str], int] = {}

    def load(self, egress_id: str, site: str, count: int) -> None:
        self._count[egress_id, site] = count

    def count(self, egress_id: str, site: str) -> int:
        return self._count.get((egress_id, site), 0)

    def add(self, egress_id: str, site: str, count: int = 1) -> None:
        self._count[egress_id, site] = self.count(egress_id, site) + count

    def free(self, egress_id: str, site: str, count: int) -> None:
        remaining = self.count(egress_id, site) - count
        if remaining > 0:
            self._count[egress_id, site] = remaining
        else:
            self._count.pop((egress_id, site), None)

    def __iter__(self) -> Iterator[tuple[tuple[str, str], int]]:
        return iter(self._count.items())
