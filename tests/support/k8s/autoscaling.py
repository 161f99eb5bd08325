"""What KEDA's Kafka scaler and the HorizontalPodAutoscaler make of a consumer's lag and CPU.

KEDA: https://keda.sh/docs/2.20/scalers/apache-kafka/. HPA: "Algorithm details" of
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/, with its defaults: a
tolerance of 10 %, and at most four pods or twice as many more in 15 seconds.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import Any

from tests.support.k8s.manifests import Manifest

TOLERANCE = 0.1
STEP_S = 15  # between two looks of the autoscaler, and of KEDA
START_S = 45  # until a new pod consumes
REBALANCE_S = 5  # in which nobody consumes after each change
UNCOMMITTED_S = 0.3  # of records are consumed, and their offsets not committed yet


@dataclass
class Partition:
    """persistent: a record blocks it, so its offset is not committed."""

    lag: float = 0.0
    persistent: bool = False


@dataclass
class Autoscaler:
    """One ScaledObject, for one consumer group."""

    scaled: Manifest
    recommended: deque[tuple[int, int]] = field(default_factory=deque)  # time, replicas

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.scaled["spec"]
        return found

    def trigger(self, kind: str) -> dict[str, str]:
        """The first of a kind; the others have the same thresholds."""
        return next(one["metadata"] for one in self.spec["triggers"] if one["type"] == kind)

    def by_lag(self, partitions: Sequence[Partition], replicas: int, uncommitted: float) -> int:
        """uncommitted: records of each partition that are in the lag beside those that wait."""
        settings = self.trigger("kafka")
        threshold = float(settings["lagThreshold"])
        excludes = settings.get("excludePersistentLag") == "true"
        lags = [one.lag + uncommitted for one in partitions if not (one.persistent and excludes)]
        total = min(sum(lags), len(partitions) * threshold)
        if settings.get("limitToPartitionsWithLag") == "true":
            total = min(total, sum(lag > 0 for lag in lags) * threshold)
        return wanted(total / threshold, replicas)

    def by_cpu(self, utilization: float, replicas: int) -> int:
        """utilization: of the requested CPU, averaged over the pods."""
        if not any(one["type"] == "cpu" for one in self.spec["triggers"]):
            return 0
        target = float(self.trigger("cpu")["value"]) / 100
        return wanted(replicas * utilization / target, replicas)

    def step(self, now_s: int, replicas: int, recommended: int) -> int:
        """The replicas from now on."""
        behavior = self.spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        window_s = behavior["scaleDown"]["stabilizationWindowSeconds"]
        least, most = self.spec["minReplicaCount"], self.spec["maxReplicaCount"]
        self.recommended.append((now_s, min(max(recommended, least), most)))
        while self.recommended[0][0] < now_s - window_s:
            self.recommended.popleft()
        latest = self.recommended[-1][1]
        if latest > replicas:
            return min(latest, max(replicas + 4, replicas * 2))
        return min(replicas, max(number for _, number in self.recommended))


def wanted(ratio: float, replicas: int) -> int:
    return replicas if abs(ratio / replicas - 1) <= TOLERANCE else ceil(ratio)


@dataclass
class Day:
    """What happened, every STEP_S. lag_s: how long the consumers need for what waits; kept_back:
    records that wait before the topic."""

    replicas: list[int] = field(default_factory=list)
    lag_s: list[float] = field(default_factory=list)
    kept_back: list[float] = field(default_factory=list)

    @property
    def changes(self) -> int:
        return sum(one != other for one, other in pairwise(self.replicas))


@dataclass
class Simulation:
    """A consumer group of pods. capacity: records per second that a pod consumes at most; cores: of
    its requested CPU that it then uses. keeps_back: no more is published than the pods consume."""

    autoscaler: Autoscaler
    partitions: Sequence[Partition]
    capacity: float
    cores: float
    keeps_back: bool = False
    day: Day = field(default_factory=Day)
    _replicas: int = 0
    _starting: list[int] = field(default_factory=list)  # when each new pod consumes
    _paused_s: int = 0
    _kept_back: float = 0.0

    def run(self, per_second: Sequence[float]) -> Day:
        """per_second: the records that arrive, minute by minute."""
        self._replicas = self.autoscaler.spec["minReplicaCount"]
        for now_s in range(0, len(per_second) * 60, STEP_S):
            self._starting = [one for one in self._starting if one > now_s]
            working = self._replicas - len(self._starting)
            most = working * self.capacity * (STEP_S - self._paused_s)
            published = self._kept_back + per_second[now_s // 60] * STEP_S
            self._kept_back = max(0.0, published - most) if self.keeps_back else 0.0
            arriving = (published - self._kept_back) / len(self.partitions)
            consumed = self._consume(arriving, share=most / len(self.partitions))
            utilization = consumed / STEP_S / self.capacity * self.cores / working
            self._scale(now_s, utilization, uncommitted=arriving / STEP_S * UNCOMMITTED_S)
            waiting = sum(one.lag for one in self.partitions if not one.persistent)
            self.day.lag_s.append(waiting / (working * self.capacity))
        return self.day

    def _consume(self, arriving: float, *, share: float) -> float:
        consumed = 0.0
        for one in self.partitions:
            taken = 0.0 if one.persistent else min(one.lag + arriving, share)
            one.lag += arriving - taken
            consumed += taken
        return consumed

    def _scale(self, now_s: int, utilization: float, *, uncommitted: float) -> None:
        one, before = self.autoscaler, self._replicas
        by_lag = one.by_lag(self.partitions, before, uncommitted)
        self._replicas = one.step(now_s, before, max(by_lag, one.by_cpu(utilization, before)))
        self._starting += [now_s + START_S] * (self._replicas - before)
        self._starting = self._starting[: self._replicas]
        self._paused_s = REBALANCE_S if self._replicas != before else 0
        self.day.replicas.append(self._replicas)
        self.day.kept_back.append(self._kept_back)
