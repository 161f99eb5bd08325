"""Limits: rates (GCRA), windows per hour and day, and messages in flight.

The state is mutable: the scheduler holds it in memory, saves the changes in the transaction that
assigns, and reads all of it again after a transaction has failed.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil, floor, inf
from typing import NamedTuple
from zoneinfo import ZoneInfo

from services.router.domain.reasons import WaitReason

TICKS_PER_S = 12  # of the scheduler, roughly; with a burst of 1 no rate could exceed it
MICROS_PER_S = 1_000_000
DAY_S = 86_400
IDLE_US = -(10**18)  # a theoretical arrival time long ago


class Limits(NamedTuple):
    """The limits of a scope; 0: no limit.

    hour_zone, day_zone: the time zone (of the IANA database) on whose clock hours and days begin;
    empty: they are rolling. allowance: messages in all, of a campaign.
    """

    per_second: int = 0
    per_minute: int = 0
    per_hour: int = 0
    per_day: int = 0
    in_flight_max: int = 0
    hour_zone: str = ""
    day_zone: str = ""
    allowance: int = 0

    def zone_of(self, limit: str) -> str:
        return {"per_hour": self.hour_zone, "per_day": self.day_zone}.get(limit, "")


NO_LIMITS = Limits()


class Capacity(NamedTuple):
    """available: messages that are admitted now. available_at_s: if none, when one is admitted.
    limited_by: the limit that decides."""

    available: int
    available_at_s: float = 0.0
    limited_by: str = ""


UNLIMITED = Capacity(1_000_000_000)


def tightest_capacity(*capacities: Capacity) -> Capacity:
    """The smallest capacity; if some are exhausted, the one that has capacity again last."""
    exhausted = [capacity for capacity in capacities if capacity.available <= 0]
    if exhausted:
        return max(exhausted, key=lambda capacity: capacity.available_at_s)
    return min(capacities, key=lambda capacity: capacity.available)


@dataclass(frozen=True, slots=True)
class RatePeriod:
    """A maximum that holds in every rolling period."""

    name: str
    period_s: int

    def parameters(self, limit: int) -> tuple[int, int]:
        """Burst and interval, in microseconds.

        With burst b and interval T, GCRA admits up to b + (period / T) - 1 in a period. To stay
        within the limit, T = period / (limit - b + 1).
        """
        burst = max(1, ceil(limit / (TICKS_PER_S * self.period_s)))
        return burst, ceil(self.period_s * MICROS_PER_S / (limit - burst + 1))


SECOND = RatePeriod(WaitReason.PER_SECOND.value, 1)
MINUTE = RatePeriod(WaitReason.PER_MINUTE.value, 60)
RATES = {rate.name: rate for rate in (SECOND, MINUTE)}


@dataclass(slots=True)
class GcraLimiter:
    """A rate: GCRA (ITU-T I.371). Times are whole microseconds, as in the row."""

    rate: RatePeriod
    tat_us: int = IDLE_US  # theoretical arrival time
    spent_at_us: int = IDLE_US  # when it was spent last

    def capacity(self, limit: int, *, now_s: float) -> Capacity:
        burst, interval_us = self.rate.parameters(limit)
        backlog_us = max(self.tat_us - round(now_s * MICROS_PER_S), 0)
        available = (burst * interval_us - backlog_us) // interval_us
        if available >= 1:
            return Capacity(available, limited_by=self.rate.name)
        return Capacity(0, (self.tat_us - (burst - 1) * interval_us) / MICROS_PER_S, self.rate.name)

    def spend(self, number: int, limit: int, *, now_s: float) -> None:
        _, interval_us = self.rate.parameters(limit)
        self.spent_at_us = round(now_s * MICROS_PER_S)
        self.tat_us = max(self.tat_us, self.spent_at_us) + number * interval_us

    def refund(self, number: int, limit: int, *, spent_at_s: float) -> bool:
        """Refund only what was spent last. Once more has been spent, how much of the earlier still
        counts is unknown, and a refund could exceed the rate; it lapses soon in any case."""
        if round(spent_at_s * MICROS_PER_S) != self.spent_at_us:
            return False
        _, interval_us = self.rate.parameters(limit)
        self.tat_us = max(self.tat_us - number * interval_us, self.spent_at_us)
        return True


@dataclass(frozen=True, slots=True)
class BucketedWindow:
    """A window in buckets. The oldest bucket counts in full, so that no window exceeds the
    limit."""

    name: str
    width_s: int
    bucket_s: int

    def bucket(self, at_s: float) -> int:
        return floor(at_s / self.bucket_s)

    def oldest_bucket(self, now_s: float) -> int:
        """The first bucket of the rolling window, which no fixed window precedes."""
        return floor((now_s - self.width_s) / self.bucket_s)

    def expires_at_s(self, bucket: int) -> float:
        """When a bucket no longer counts."""
        return (bucket + 1) * self.bucket_s + float(self.width_s)

    def fixed_bounds_s(self, now_s: float, zone: str) -> tuple[float, float]:
        """When the current fixed window began, and when it ends. A day on which the clocks change
        has 23 or 25 hours."""
        local = datetime.fromtimestamp(now_s, ZoneInfo(zone))
        if self.width_s == DAY_S:
            midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
            return midnight.timestamp(), (midnight + timedelta(days=1)).timestamp()
        offset = local.utcoffset()
        offset_s = offset.total_seconds() if offset else 0.0
        start_s = floor((now_s + offset_s) / self.width_s) * self.width_s - offset_s
        return start_s, start_s + self.width_s


HOUR = BucketedWindow(WaitReason.PER_HOUR.value, 3600, 300)
DAY = BucketedWindow(WaitReason.PER_DAY.value, DAY_S, 3600)
# As long as a campaign is known. Only a judgement gives it more.
ALLOWANCE = BucketedWindow(WaitReason.ALLOWANCE.value, 30 * DAY_S, DAY_S)
WINDOWS = {window.name: window for window in (HOUR, DAY, ALLOWANCE)}


@dataclass(slots=True)
class WindowCounter:
    """The messages that were assigned in the last window, by bucket."""

    window: BucketedWindow
    buckets: dict[int, int] = field(default_factory=dict)

    def drop_expired(self, now_s: float) -> bool:
        """Drop the buckets that no longer count. True if none remains."""
        oldest = self.window.oldest_bucket(now_s)
        for bucket in [bucket for bucket in self.buckets if bucket < oldest]:
            del self.buckets[bucket]
        return not self.buckets

    def capacity(self, limit: int, limits: Limits, *, now_s: float) -> Capacity:
        self.drop_expired(now_s)
        if zone := limits.zone_of(self.window.name):
            return self._fixed_capacity(limit, zone, now_s=now_s)
        used = sum(self.buckets.values())
        if used < limit:
            return Capacity(limit - used, limited_by=self.window.name)
        return Capacity(0, self._available_at_s(limit, used), self.window.name)

    def _fixed_capacity(self, limit: int, zone: str, *, now_s: float) -> Capacity:
        start_s, end_s = self.window.fixed_bounds_s(now_s, zone)
        first = self.window.bucket(start_s)
        used = sum(count for bucket, count in self.buckets.items() if bucket >= first)
        if used < limit:
            return Capacity(limit - used, limited_by=self.window.name)
        return Capacity(0, end_s, self.window.name)

    def _available_at_s(self, limit: int, used: int) -> float:
        if self.window is ALLOWANCE:
            return inf
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
