"""Caps hold in every window, however it is cut."""

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.domain.windows import (
    DAY,
    HOUR,
    NO_CAPS,
    SCOPES_MIN,
    Caps,
    Count,
    Rate,
    Room,
    Saved,
    Usage,
    tightest,
)

START_S = 1_795_000_000.0


def most_in_any(span_s: float, leaving_s: Sequence[float]) -> int:
    """Of moments in order, how many fall into the fullest half-open window of this width."""
    most = first = 0
    for last, moment in enumerate(leaving_s):
        while leaving_s[first] <= moment - span_s:
            first += 1
        most = max(most, last - first + 1)
    return most


gaps = st.lists(st.floats(0.001, 0.4), min_size=1, max_size=120)


@given(per_second=st.integers(1, 300), gaps=gaps, wanted=st.integers(1, 400))
def test_no_rolling_second_has_more_than_the_rate(
    per_second: int, gaps: list[float], wanted: int
) -> None:
    rate, left = Rate(), list[float]()
    for now_s in accumulate(gaps, initial=START_S):
        taken = min(rate.room(per_second, now_s=now_s).free, wanted)
        rate.take(taken, per_second, now_s=now_s)
        left += [now_s] * taken
    assert most_in_any(1.0 - 1e-6, left) <= per_second


@given(per_second=st.integers(1, 300))
def test_a_rate_that_is_asked_often_gives_nearly_all_of_itself(per_second: int) -> None:
    rate, total, now_s = Rate(), 0, START_S
    while now_s < START_S + 20:
        free = rate.room(per_second, now_s=now_s).free
        rate.take(free, per_second, now_s=now_s)
        total += free
        now_s = max(now_s + 0.06, rate.room(per_second, now_s=now_s).release_s)
    assert total >= per_second * 20 * 0.9 - 1


@given(per_second=st.integers(1, 300), now_s=st.floats(START_S, START_S + 5))
def test_what_is_refused_is_let_through_at_the_moment_that_was_named(
    per_second: int, now_s: float
) -> None:
    rate = Rate()
    free = rate.room(per_second, now_s=now_s).free
    rate.take(free, per_second, now_s=now_s)
    refused = rate.room(per_second, now_s=now_s)
    assert refused.free == 0
    assert rate.room(per_second, now_s=refused.release_s + 1e-6).free >= 1


minutes = st.lists(st.tuples(st.floats(1, 3000), st.integers(1, 60)), min_size=1, max_size=100)


@given(cap=st.integers(1, 100), steps=minutes)
def test_no_rolling_hour_has_more_than_the_cap(cap: int, steps: list[tuple[float, int]]) -> None:
    counted, left, now_s = Count(HOUR), list[float](), START_S
    for gap_s, wanted in steps:
        now_s += gap_s
        taken = min(counted.room(cap, now_s=now_s).free, wanted)
        counted.take(taken, now_s=now_s)
        left += [now_s] * taken
    assert most_in_any(3600.0, left) <= cap


@given(cap=st.integers(1, 50), steps=minutes)
def test_a_full_hour_names_the_moment_when_one_may_leave(
    cap: int, steps: list[tuple[float, int]]
) -> None:
    counted, now_s = Count(HOUR), START_S
    for gap_s, _ in steps:
        now_s += gap_s
        counted.take(max(0, counted.room(cap, now_s=now_s).free), now_s=now_s)
    refused = counted.room(cap, now_s=now_s)
    assert refused.free == 0
    assert refused.release_s > now_s
    assert counted.room(cap, now_s=refused.release_s).free >= 1


def test_the_binding_scope_is_that_with_the_latest_release() -> None:
    usage, caps = Usage(), Caps(per_second=5, per_hour=5, per_day=5)
    usage.take("tenant/a", 5, caps=caps, now_s=START_S)
    assert usage.room("tenant/a", caps, now_s=START_S).binding == "per_day"
    assert tightest(Room(3, binding="a"), Room(2, binding="b")).binding == "b"


def test_what_connected_nothing_is_given_back() -> None:
    usage, caps = Usage(), Caps(per_hour=10)
    usage.take("tenant/a", 10, caps=caps, now_s=START_S)
    assert usage.room("tenant/a", caps, now_s=START_S + 700).free == 0
    usage.give_back("tenant/a", 4, caps=caps, taken_s=START_S)
    assert usage.room("tenant/a", caps, now_s=START_S + 700).free == 4


@settings(max_examples=50)
@given(steps=minutes)
def test_counters_that_are_saved_and_read_again_say_the_same(
    steps: list[tuple[float, int]],
) -> None:
    caps = Caps(per_second=50, per_hour=200, per_day=900)
    usage, saved, now_s = Usage(), dict[tuple[str, str], Saved](), START_S
    for gap_s, wanted in steps:
        now_s += gap_s
        taken = min(usage.room("tenant/a", caps, now_s=now_s).free, wanted)
        usage.take("tenant/a", taken, caps=caps, now_s=now_s)
        saved |= {(one.scope, one.window): one for one in usage.changes()}
    again = Usage()
    for one in saved.values():
        if one.expires_s > now_s:
            again.load(one)
    assert again.room("tenant/a", caps, now_s=now_s) == usage.room("tenant/a", caps, now_s=now_s)


def test_a_bucket_counts_until_its_last_second_has_left_the_window() -> None:
    assert HOUR.leaves_s(HOUR.bucket(START_S)) - START_S > 3600
    assert DAY.leaves_s(DAY.bucket(START_S)) - START_S > 86400


def test_late_answers_do_not_raise_a_rate() -> None:
    """Each gives back what was taken two minutes ago."""
    usage, caps, left = Usage(), Caps(per_second=12), list[float]()
    for now_s in (START_S + tick * 0.025 for tick in range(40)):
        usage.give_back("tenant/a", 1, caps=caps, taken_s=START_S - 120)
        if usage.room("tenant/a", caps, now_s=now_s).free:
            usage.take("tenant/a", 1, caps=caps, now_s=now_s)
            left.append(now_s)
    assert len(left) <= 12


@given(per_second=st.integers(1, 300))
def test_a_rate_is_given_back_what_was_not_sent_after_all(per_second: int) -> None:
    rate = Rate()
    free = rate.room(per_second, now_s=START_S).free
    rate.take(free, per_second, now_s=START_S)
    for number in range(free):
        assert rate.room(per_second, now_s=START_S).free == number
        rate.give_back(1, per_second, taken_s=START_S)


def test_what_no_cap_asks_for_is_kept_no_longer_than_a_cap_would_need_it() -> None:
    usage = Usage()
    for minute in range(0, 3 * 24 * 60, 5):
        usage.take("tenant/a", 1, caps=NO_CAPS, now_s=START_S + minute * 60)
    kept = {span: len(counted.buckets) for (_, span), counted in usage._counts.items()}
    assert kept == {"per_hour": 13, "per_day": 25}


def test_tenants_that_fell_silent_are_forgotten() -> None:
    usage, caps = Usage(), Caps(per_second=5)
    for number in range(SCOPES_MIN // 2 + 1):  # two counts of each
        usage.take(f"tenant/{number}", 1, caps=caps, now_s=START_S)
    usage.take("tenant/new", 1, caps=caps, now_s=START_S + 3 * 86400)
    assert {scope for scope, _ in usage._counts} == {"tenant/new"}
    assert set(usage._rates) == {"tenant/new"}
