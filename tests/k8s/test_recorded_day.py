"""The autoscalers through a recorded day: what the engine used, and left unread, in 24 hours of ten
seconds each (`python -m bench.day`), at the scale of three billion messages a month."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from tests.support.k8s.autoscaling import (
    STEP_S,
    Autoscaler,
    Day,
    Partition,
    Simulation,
)
from tests.support.k8s.manifests import DEPLOY, Manifest, of_kind, render

RECORD: dict[str, Any] = json.loads(Path(__file__).with_name("recorded_day.json").read_text())
STEPS: Sequence[Mapping[str, Any]] = RECORD["steps"]
PARTITIONS, MEAN_PER_S, MINUTES = 12, 1_200, 60
# The consumer groups of mail on its way. The others read what is not per message.
GROUPS = {
    "shield": ("shield-express", "shield-bulk"),
    "router": ("router-screened-express", "router-screened-bulk", "router-attempted"),
    "delivery": ("delivery-express", "delivery-bulk"),
    "events": ("events",),
}
CORES = 2.0  # a process uses one at most, and its pod requests half of one


def messages_per_second() -> list[float]:
    """By the minute: the shape of the recorded day, at another scale."""
    accepted = [one["accepted"] for one in STEPS]
    scale = MEAN_PER_S / mean(accepted)
    return [number * scale for number in accepted for _ in range(MINUTES)]


def rate_of(step: Mapping[str, Any]) -> float:
    return float(step["accepted"] / step["seconds"])


def capacity_of(service: str) -> float:
    """Messages per second of CPU over the day, with what a process uses when there are none: less
    than at full load."""
    return float(
        sum(one["accepted"] for one in STEPS) / sum(one["cpu_s"][service] for one in STEPS)
    )


@pytest.fixture(scope="module")
def scaled() -> dict[str, Manifest]:
    found = of_kind(render(DEPLOY / "overlays/prod"), "ScaledObject")
    return {one["metadata"]["name"]: one for one in found}


def day_of(manifest: Manifest, *, keeps_back: bool = False) -> Day:
    partitions = [Partition() for _ in range(PARTITIONS)]
    capacity = capacity_of(manifest["metadata"]["name"])
    simulation = Simulation(Autoscaler(manifest), partitions, capacity, CORES, keeps_back)
    return simulation.run(messages_per_second())


def test_the_record_has_all_mail_and_no_backlog() -> None:
    assert len(STEPS) == 24
    assert RECORD["delivered"] == sum(one["accepted"] for one in STEPS)
    assert [one["accepted"] for one in STEPS] == [one["rate"] * RECORD["step_s"] for one in STEPS]
    assert RECORD["signature_ms"] > 0


@pytest.mark.parametrize("service", GROUPS)
def test_the_recorded_lag_needs_no_more_pods_than_the_load_of_its_hour(
    service: str, scaled: dict[str, Manifest]
) -> None:
    """The machine was so busy that some records always waited."""
    day, autoscaler = day_of(scaled[service]), Autoscaler(scaled[service])
    scale = MEAN_PER_S / mean(map(rate_of, STEPS))
    for hour, one in enumerate(STEPS):
        pods = day.replicas[((hour + 1) * 3600 - 1) // STEP_S]
        for group in GROUPS[service]:
            lag = one["lag"].get(group, 0) * scale / PARTITIONS
            partitions = [Partition(lag) for _ in range(PARTITIONS)]
            assert autoscaler.by_lag(partitions, pods, 0.0) <= pods


@pytest.mark.parametrize("service", GROUPS)
def test_a_consumer_follows_the_recorded_day(service: str, scaled: dict[str, Manifest]) -> None:
    day = day_of(scaled[service])
    needed = max(messages_per_second()) / capacity_of(service)
    assert needed < max(day.replicas) <= PARTITIONS
    assert sum(lag_s > 60 for lag_s in day.lag_s) * STEP_S < 600
    assert sorted(day.lag_s)[len(day.lag_s) * 99 // 100] < 5
    assert day.replicas[4 * 3600 // STEP_S] == 2
    assert day.changes <= 40


def test_mail_that_is_kept_back_from_busy_delivery_adds_pods_in_time(
    scaled: dict[str, Manifest],
) -> None:
    day = day_of(scaled["delivery"], keeps_back=True)
    assert max(day.kept_back) < 60 * max(messages_per_second())
    assert day.kept_back[-1] == 0
