"""Percentiles of histograms are off by at most 10 %."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.events.domain.figures.histogram import BUCKETS, bucket_of, percentile_s

HOURS_72_MS = 72 * 3_600_000


@given(
    st.lists(st.integers(1, 57 * 3_600_000), min_size=1),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_a_percentile_is_near_the_exact_one(durations_ms: list[int], share: float) -> None:
    exact = sorted(durations_ms)[max(-(-len(durations_ms) * share // 1) - 1, 0).__int__()]
    found = percentile_s(Counter(map(bucket_of, durations_ms)), share)
    assert found is not None
    assert abs(found * 1000 - exact) <= 0.1 * exact + 0.01


def test_every_duration_has_a_bucket() -> None:
    assert bucket_of(-5) == bucket_of(0) == 0
    assert bucket_of(HOURS_72_MS * 10) == BUCKETS - 1


def test_without_durations_there_is_no_percentile() -> None:
    assert percentile_s({}, 0.5) is None
    assert percentile_s({3: 0}, 0.5) is None
