"""The autoscalers through a day of three billion messages a month: they follow without flutter."""

from copy import deepcopy
from math import cos, pi

import pytest

from tests.support.k8s.autoscaling import STEP_S, Autoscaler, Day, Partition, Simulation
from tests.support.k8s.manifests import DEPLOY, Manifest, of_kind, render

PARTITIONS = 12
DAY_MINUTES = 24 * 60
MEAN_PER_S = 1_200
# Newsletters: when they begin, in minutes, and how many messages come in twenty minutes.
NEWSLETTERS = {9 * 60: 2_000_000, 12 * 60 + 30: 500_000, 18 * 60: 3_000_000}
# What a pod consumes per second on a core: less than `make bench` shows. It requests half a core.
CAPACITIES = {"shield": 700.0, "router": 1_500.0, "delivery": 600.0, "events": 700.0}
CORES = 2.0


def messages_per_second() -> list[float]:
    """Messages, by the minute: quietest at four, busiest at four in the afternoon."""
    day = [
        MEAN_PER_S * (1 - 0.7 * cos(2 * pi * (minute - 4 * 60) / DAY_MINUTES))
        for minute in range(DAY_MINUTES)
    ]
    for start, messages in NEWSLETTERS.items():
        for minute in range(start, start + 20):
            day[minute] += messages / 20 / 60
    return day


@pytest.fixture(scope="module")
def scaled() -> dict[str, Manifest]:
    found = of_kind(render(DEPLOY / "overlays/prod"), "ScaledObject")
    return {one["metadata"]["name"]: one for one in found}


def day_of(
    manifest: Manifest, *, persistent: int = 0, keeps_back: bool = False, **changed: str
) -> Day:
    autoscaler = Autoscaler(deepcopy(manifest))
    autoscaler.trigger("kafka").update(changed)
    partitions = [Partition(lag=50_000.0, persistent=True) for _ in range(persistent)]
    partitions += [Partition() for _ in range(PARTITIONS - persistent)]
    capacity = CAPACITIES[manifest["metadata"]["name"]]
    simulation = Simulation(autoscaler, partitions, capacity, CORES, keeps_back)
    return simulation.run(messages_per_second())


@pytest.mark.parametrize("name", CAPACITIES)
def test_a_consumer_stays_near_the_end_of_its_topic(name: str, scaled: dict[str, Manifest]) -> None:
    day = day_of(scaled[name])
    assert max(messages_per_second()) / CAPACITIES[name] < max(day.replicas) <= PARTITIONS
    late = [lag_s > 60 for lag_s in day.lag_s]
    assert sum(late) * STEP_S < 600  # ObmConsumerLags pages for ten minutes in succession
    assert sorted(day.lag_s)[len(day.lag_s) * 99 // 100] < 5
    assert day.replicas[4 * 3600 // STEP_S] == 2  # when it is quietest
    assert day.changes <= 40


@pytest.mark.parametrize("name", CAPACITIES)
def test_a_record_that_blocks_its_partition_is_not_load(
    name: str, scaled: dict[str, Manifest]
) -> None:
    free, blocked = day_of(scaled[name]), day_of(scaled[name], persistent=1)
    assert sum(blocked.replicas) <= sum(free.replicas)


def test_mail_that_the_router_keeps_back_from_busy_delivery_adds_pods(
    scaled: dict[str, Manifest],
) -> None:
    day, by_lag = (
        day_of(one, keeps_back=True)
        for one in (scaled["delivery"], by_lag_alone(scaled["delivery"]))
    )
    assert max(day.replicas) > max(messages_per_second()) / CAPACITIES["delivery"]
    assert max(day.kept_back) < 60 * max(messages_per_second())
    assert day.kept_back[-1] == 0
    assert max(by_lag.replicas) == 2  # and the mail of the day is still there at its end
    assert by_lag.kept_back[-1] > 1_000_000


def test_other_rules_would_flutter_or_come_too_late_or_cost_all_pods_all_day(
    scaled: dict[str, Manifest],
) -> None:
    by_lag = by_lag_alone(scaled["shield"])
    assert day_of(by_lag).changes > 5 * day_of(scaled["shield"]).changes
    assert max(day_of(by_lag, lagThreshold="200000").lag_s) > 300
    keda_default = day_of(scaled["shield"], lagThreshold="10")
    assert min(keda_default.replicas[1:]) == PARTITIONS


def by_lag_alone(manifest: Manifest) -> Manifest:
    manifest = deepcopy(manifest)
    triggers = manifest["spec"]["triggers"]
    manifest["spec"]["triggers"] = [one for one in triggers if one["type"] != "cpu"]
    return manifest


def test_mail_that_waits_for_a_limit_scales_nothing(scaled: dict[str, Manifest]) -> None:
    """It waits in the router's table: no trigger counts what is there."""
    for one in scaled.values():
        assert {trigger["type"] for trigger in one["spec"]["triggers"]} <= {"kafka", "cpu"}
