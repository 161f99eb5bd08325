"""Limits hold in every rolling window."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import accumulate
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.domain.limits import (
    DAY,
    HOUR,
    MINUTE,
    NO_LIMITS,
    SECOND,
    Capacity,
    GcraLimiter,
    Limits,
    RatePeriod,
    WindowCounter,
    tightest_capacity,
)

START_S = 1_795_000_000.0


def max_in_window(window_s: float, sent_s: Sequence[float]) -> int:
    """The maximum number of these times, which are in order, in any half-open window."""
    maximum = first = 0
    for last, moment_s in enumerate(sent_s):
        while sent_s[first] <= moment_s - window_s:
            first += 1
        maximum = max(maximum, last - first + 1)
    return maximum


gaps = st.lists(st.floats(0.001, 0.4), min_size=1, max_size=120)


ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu",
    "Australia/Lord_Howe", "America/St_Johns", "Africa/Cairo", "Pacific/Apia",
)  # fmt: skip
# The days before clocks change in Europe, in America, in Cairo (at midnight) and in Australia.
CLOCK_CHANGES = tuple(
    datetime(2026, month, day, tzinfo=UTC)
    for month, day in ((3, 28), (10, 24), (3, 7), (10, 31), (4, 23), (10, 29), (4, 4), (10, 3))
)


def offset_of(zone: str, at_s: float) -> float:
    offset = datetime.fromtimestamp(at_s, ZoneInfo(zone)).utcoffset()
    return offset.total_seconds() if offset else 0.0


@pytest.mark.parametrize("rate", [SECOND, MINUTE])
@given(limit=st.integers(1, 300), gaps=gaps, wanted=st.integers(1, 400))
def test_no_rolling_period_has_more_than_the_rate(
    rate: RatePeriod, limit: int, gaps: list[float], wanted: int
) -> None:
    limiter, sent_s = GcraLimiter(rate), list[float]()
    for now_s in accumulate((gap * rate.period_s for gap in gaps), initial=START_S):
        spent = min(limiter.capacity(limit, now_s=now_s).available, wanted)
        limiter.spend(spent, limit, now_s=now_s)
        sent_s += [now_s] * spent
    assert max_in_window(rate.period_s - 1e-6, sent_s) <= limit


@given(per_second=st.integers(1, 300))
def test_a_rate_that_is_spent_often_grants_at_least_nine_tenths(per_second: int) -> None:
    rate, total, now_s = GcraLimiter(SECOND), 0, START_S
    while now_s < START_S + 20:
        available = rate.capacity(per_second, now_s=now_s).available
        rate.spend(available, per_second, now_s=now_s)
        total += available
        now_s = max(now_s + 0.06, rate.capacity(per_second, now_s=now_s).available_at_s)
    assert total >= per_second * 20 * 0.9 - 1


@given(per_second=st.integers(1, 300), now_s=st.floats(START_S, START_S + 5))
def test_an_exhausted_rate_has_capacity_at_the_reported_time(per_second: int, now_s: float) -> None:
    rate = GcraLimiter(SECOND)
    available = rate.capacity(per_second, now_s=now_s).available
    rate.spend(available, per_second, now_s=now_s)
    exhausted = rate.capacity(per_second, now_s=now_s)
    assert exhausted.available == 0
    assert rate.capacity(per_second, now_s=exhausted.available_at_s + 1e-6).available >= 1


minutes = st.lists(st.tuples(st.floats(1, 3000), st.integers(1, 60)), min_size=1, max_size=100)


@given(limit=st.integers(1, 100), steps=minutes)
def test_no_rolling_hour_has_more_than_the_limit(
    limit: int, steps: list[tuple[float, int]]
) -> None:
    counter, sent_s, now_s = WindowCounter(HOUR), list[float](), START_S
    for interval_s, wanted in steps:
        now_s += interval_s
        spent = min(counter.capacity(limit, NO_LIMITS, now_s=now_s).available, wanted)
        counter.spend(spent, now_s=now_s)
        sent_s += [now_s] * spent
    assert max_in_window(3600.0, sent_s) <= limit


@given(limit=st.integers(1, 50), steps=minutes)
def test_an_exhausted_hour_has_capacity_at_the_reported_time(
    limit: int, steps: list[tuple[float, int]]
) -> None:
    counter, now_s = WindowCounter(HOUR), START_S
    for interval_s, _ in steps:
        now_s += interval_s
        counter.spend(
            max(0, counter.capacity(limit, NO_LIMITS, now_s=now_s).available), now_s=now_s
        )
    exhausted = counter.capacity(limit, NO_LIMITS, now_s=now_s)
    assert exhausted.available == 0
    assert exhausted.available_at_s > now_s
    assert counter.capacity(limit, NO_LIMITS, now_s=exhausted.available_at_s).available >= 1


@given(limit=st.integers(1, 100), steps=minutes, zone=st.sampled_from(ZONES))
def test_no_fixed_hour_has_more_than_the_limit(
    limit: int, steps: list[tuple[float, int]], zone: str
) -> None:
    limits, offset_s = Limits(hour_zone=zone), offset_of(zone, START_S)
    counter, now_s = WindowCounter(HOUR), START_S
    by_hour = Counter[int]()
    for interval_s, wanted in steps:
        now_s += interval_s
        spent = min(counter.capacity(limit, limits, now_s=now_s).available, wanted)
        counter.spend(spent, now_s=now_s)
        by_hour[int((now_s + offset_s) // 3600)] += spent
    assert max(by_hour.values()) <= limit


@given(
    limit=st.integers(1, 100),
    steps=st.lists(st.tuples(st.integers(60, 30_000), st.integers(1, 40)), min_size=5, max_size=40),
    zone=st.sampled_from(ZONES),
    start=st.sampled_from(CLOCK_CHANGES),
)
def test_no_local_day_has_more_than_the_limit_also_when_the_clocks_change(
    limit: int, steps: list[tuple[int, int]], zone: str, start: datetime
) -> None:
    limits, counter, now_s = Limits(day_zone=zone), WindowCounter(DAY), start.timestamp()
    by_date = Counter[date]()
    for interval_s, wanted in steps:
        now_s += interval_s
        capacity = counter.capacity(limit, limits, now_s=now_s)
        if not capacity.available:
            assert now_s < capacity.available_at_s <= now_s + 25 * 3600
            ends = datetime.fromtimestamp(capacity.available_at_s, ZoneInfo(zone))
            assert ends.date() > datetime.fromtimestamp(now_s, ZoneInfo(zone)).date()
        counter.spend(min(capacity.available, wanted), now_s=now_s)
        local = datetime.fromtimestamp(now_s, ZoneInfo(zone))
        by_date[local.date()] += min(capacity.available, wanted)
    assert max(by_date.values()) <= limit


def test_a_fixed_day_begins_at_midnight_in_the_time_zone_of_the_tenant() -> None:
    """14:00 UTC is 19:30 in India, and its day ends at 18:30 UTC."""
    limits, noon_s = Limits(day_zone="Asia/Kolkata"), START_S // 86400 * 86400
    counter = WindowCounter(DAY)
    counter.spend(5, now_s=noon_s + 14 * 3600)
    exhausted = counter.capacity(5, limits, now_s=noon_s + 14 * 3600)
    assert (exhausted.available, exhausted.available_at_s) == (0, noon_s + 18.5 * 3600)
    assert counter.capacity(5, limits, now_s=noon_s + 19 * 3600).available == 5


def test_the_limit_that_is_available_last_decides() -> None:
    early, late = Capacity(0, 60.0, "per_hour"), Capacity(0, 90.0, "per_day")
    assert tightest_capacity(Capacity(3), early, late) == late
    assert (
        tightest_capacity(Capacity(3, limited_by="a"), Capacity(2, limited_by="b")).limited_by
        == "b"
    )


def test_a_bucket_counts_until_its_last_second_has_left_the_window() -> None:
    assert HOUR.expires_at_s(HOUR.bucket(START_S)) - START_S > 3600
    assert DAY.expires_at_s(DAY.bucket(START_S)) - START_S > 86400


def test_late_refunds_do_not_raise_a_rate() -> None:
    """Each refunds a message that was spent two minutes ago."""
    rate, sent_s = GcraLimiter(SECOND), list[float]()
    for now_s in (START_S + tick * 0.025 for tick in range(40)):
        rate.refund(1, 12, spent_at_s=START_S - 120)
        if rate.capacity(12, now_s=now_s).available:
            rate.spend(1, 12, now_s=now_s)
            sent_s.append(now_s)
    assert len(sent_s) <= 12


@given(per_second=st.integers(1, 300), gaps=gaps, refunded=st.lists(st.integers(0, 30)))
def test_refunds_never_let_a_second_exceed_the_rate(
    per_second: int, gaps: list[float], refunded: list[int]
) -> None:
    """Refunded messages were not sent, and do not count."""
    rate, sent_s = GcraLimiter(SECOND), list[float]()
    spends: list[tuple[float, int]] = []
    for step, now_s in enumerate(accumulate(gaps, initial=START_S)):
        spent = rate.capacity(per_second, now_s=now_s).available
        rate.spend(spent, per_second, now_s=now_s)
        spends.append((now_s, spent))
        ago = refunded[step % len(refunded)] if refunded else 0
        at_s, number = spends.pop(-1 - ago) if ago < len(spends) else (now_s, 0)
        rate.refund(number, per_second, spent_at_s=at_s)
    for at_s, number in spends:
        sent_s += [at_s] * number
    assert max_in_window(1.0 - 1e-6, sent_s) <= per_second


@given(per_second=st.integers(1, 300))
def test_a_refund_restores_the_capacity_of_a_rate(per_second: int) -> None:
    rate = GcraLimiter(SECOND)
    available = rate.capacity(per_second, now_s=START_S).available
    rate.spend(available, per_second, now_s=START_S)
    for number in range(available):
        assert rate.capacity(per_second, now_s=START_S).available == number
        rate.refund(1, per_second, spent_at_s=START_S)


def test_a_counter_keeps_the_buckets_of_one_window() -> None:
    hours, days = WindowCounter(HOUR), WindowCounter(DAY)
    for minute in range(0, 3 * 24 * 60, 5):
        for counter in (hours, days):
            counter.spend(1, now_s=START_S + minute * 60)
    assert (len(hours.buckets), len(days.buckets)) == (13, 25)
