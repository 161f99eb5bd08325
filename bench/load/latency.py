"""Collects latencies in seconds and summarizes them in milliseconds."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

Summary = dict[str, float]


@dataclass(slots=True)
class Latencies:
    samples: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, seconds: float) -> None:
        self.samples.append(seconds)

    def summary(self) -> Summary:
        return summary(self.samples)


def summary(samples: Sequence[float]) -> Summary:
    """{"mean", "p50", "p99"} in ms, rounded to a microsecond; empty without samples."""
    if not samples:
        return {}
    ordered = sorted(samples)
    return {
        "mean": milliseconds(sum(ordered) / len(ordered)),
        "p50": milliseconds(percentile(ordered, 50)),
        "p99": milliseconds(percentile(ordered, 99)),
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank: the smallest sample that at least `percent` of all samples do not exceed."""
    rank = max(1, math.ceil(percent / 100 * len(ordered)))
    return ordered[rank - 1]


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
