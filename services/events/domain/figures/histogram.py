"""Histograms of durations, which can be added, so that percentiles of any sum are known.

The bounds of a bucket have a ratio of 1.2, from 1 ms to 72 h, so that a percentile is off by at
most 10 %.
"""

from bisect import bisect_left
from collections.abc import Mapping

RATIO = 1.2
BUCKETS = 107
BOUNDS_MS = tuple(RATIO**n for n in range(BUCKETS - 1))  # upper ones; the last bucket has none


def bucket_of(duration_ms: int) -> int:
    """0 to 106."""
    return bisect_left(BOUNDS_MS, duration_ms)


def percentile_s(histogram: Mapping[int, int], share: float) -> float | None:
    """In seconds: the geometric middle of the bucket in which this share of all is reached."""
    total = sum(histogram.values())
    if total <= 0:
        return None
    rank, seen = share * total, 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= rank:
            break
    return float(f"{RATIO ** (bucket - 0.5) / 1000:.3g}")
