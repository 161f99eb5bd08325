"""Limits hold in every rolling window."""

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.domain.limits import (
    COUNTERS_MIN,
    DAY,
    HOUR,
    NO_LIMITS,
    Capacity,
    CounterRow,
    GcraLimiter,
    RateLimits,
    Usage,
    WindowCounter,
    tightest,
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


@given(per_second=st.integers(1, 300), gaps=gaps, wanted=st.integers(1, 400))
def test_no_rolling_second_has_more_than_the_rate(
    per_second: int, gaps: list[float], wanted: int
) -> None:
    rate, sent_s = GcraLimiter(), list[float]()
    for now_s in accumulate(gaps, initial=START_S):
        spent = min(rate.capacity(per_second, now_s=now_s).available, wanted)
        rate.spend(spent, per_second, now_s=now_s)
        sent_s += [now_s] * spent
    assert max_in_window(1.0 - 1e-6, sent_s) <= per_second


@given(per_second=st.integers(1, 300))
def test_a_rate_that_is_spent_often_grants_at_least_nine_tenths(per_second: int) -> None:
    rate, total, now_s = GcraLimiter(), 0, START_S
    while now_s < START_S + 20:
        available = rate.capacity(per_second, now_s=now_s).available
        rate.spend(available, per_second, now_s=now_s)
        total += available
        now_s = max(now_s + 0.06, rate.capacity(per_second, now_s=now_s).available_at_s)
    assert total >= per_second * 20 * 0.9 - 1


@given(per_second=st.integers(1, 300), now_s=st.floats(START_S, START_S + 5))
def test_an_exhausted_rate_has_capacity_when_it_says_so(per_second: int, now_s: float) -> None:
    rate = GcraLimiter()
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
        spent = min(counter.capacity(limit, now_s=now_s).available, wanted)
        counter.spend(spent, now_s=now_s)
        sent_s += [now_s] * spent
    assert max_in_window(3600.0, sent_s) <= limit


@given(limit=st.integers(1, 50), steps=minutes)
def test_an_exhausted_hour_has_capacity_when_it_says_so(
    limit: int, steps: list[tuple[float, int]]
) -> None:
    counter, now_s = WindowCounter(HOUR), START_S
    for interval_s, _ in steps:
        now_s += interval_s
        counter.spend(max(0, counter.capacity(limit, now_s=now_s).available), now_s=now_s)
    exhausted = counter.capacity(limit, now_s=now_s)
    assert exhausted.available == 0
    assert exhausted.available_at_s > now_s
    assert counter.capacity(limit, now_s=exhausted.available_at_s).available >= 1


def test_the_limit_that_is_available_last_decides() -> None:
    usage, limits = Usage(), RateLimits(per_second=5, per_hour=5, per_day=5)
    usage.spend("tenant/a", 5, limits=limits, now_s=START_S)
    assert usage.capacity("tenant/a", limits, now_s=START_S).limited_by == "per_day"
    assert tightest(Capacity(3, limited_by="a"), Capacity(2, limited_by="b")).limited_by == "b"


def test_a_spend_without_a_connection_is_refunded() -> None:
    usage, limits = Usage(), RateLimits(per_hour=10)
    usage.spend("tenant/a", 10, limits=limits, now_s=START_S)
    assert usage.capacity("tenant/a", limits, now_s=START_S + 700).available == 0
    usage.refund("tenant/a", 4, limits=limits, spent_at_s=START_S)
    assert usage.capacity("tenant/a", limits, now_s=START_S + 700).available == 4


@settings(max_examples=50)
@given(steps=minutes)
def test_counters_that_are_saved_and_loaded_give_the_same_capacity(
    steps: list[tuple[float, int]],
) -> None:
    limits = RateLimits(per_second=50, per_hour=200, per_day=900)
    usage, saved, now_s = Usage(), dict[tuple[str, str], CounterRow](), START_S
    for interval_s, wanted in steps:
        now_s += interval_s
        spent = min(usage.capacity("tenant/a", limits, now_s=now_s).available, wanted)
        usage.spend("tenant/a", spent, limits=limits, now_s=now_s)
        saved |= {(one.scope, one.window_key): one for one in usage.drain_changes()}
    loaded = Usage()
    for one in saved.values():
        if one.expires_s > now_s:
            loaded.load(one)
    assert loaded.capacity("tenant/a", limits, now_s=now_s) == usage.capacity(
        "tenant/a", limits, now_s=now_s
    )


def test_a_bucket_counts_until_its_last_second_has_left_the_window() -> None:
    assert HOUR.expires_at_s(HOUR.bucket(START_S)) - START_S > 3600
    assert DAY.expires_at_s(DAY.bucket(START_S)) - START_S > 86400


def test_late_refunds_do_not_raise_a_rate() -> None:
    """Each refunds a message that was spent two minutes ago."""
    usage, limits, sent_s = Usage(), RateLimits(per_second=12), list[float]()
    for now_s in (START_S + tick * 0.025 for tick in range(40)):
        usage.refund("tenant/a", 1, limits=limits, spent_at_s=START_S - 120)
        if usage.capacity("tenant/a", limits, now_s=now_s).available:
            usage.spend("tenant/a", 1, limits=limits, now_s=now_s)
            sent_s.append(now_s)
    assert len(sent_s) <= 12


@given(per_second=st.integers(1, 300))
def test_a_refund_restores_the_capacity_of_a_rate(per_second: int) -> None:
    rate = GcraLimiter()
    available = rate.capacity(per_second, now_s=START_S).available
    rate.spend(available, per_second, now_s=START_S)
    for number in range(available):
        assert rate.capacity(per_second, now_s=START_S).available == number
        rate.refund(1, per_second, spent_at_s=START_S)


def test_counters_without_a_limit_keep_the_buckets_of_one_window() -> None:
    usage = Usage()
    for minute in range(0, 3 * 24 * 60, 5):
        usage.spend("tenant/a", 1, limits=NO_LIMITS, now_s=START_S + minute * 60)
    buckets = {window: len(counter.buckets) for (_, window), counter in usage._counters.items()}
    assert buckets == {"per_hour": 13, "per_day": 25}


def test_counters_of_idle_tenants_are_dropped() -> None:
    usage, limits = Usage(), RateLimits(per_second=5)
    for number in range(COUNTERS_MIN // 2 + 1):  # two counters per tenant
        usage.spend(f"tenant/{number}", 1, limits=limits, now_s=START_S)
    usage.spend("tenant/new", 1, limits=limits, now_s=START_S + 3 * 86400)
    assert {scope for scope, _ in usage._counters} == {"tenant/new"}
    assert set(usage._rates) == {"tenant/new"}
