"""The tables of docs/what-it-takes.md follow from the costs and assumptions on the same page."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import pytest

from tests.support.pages import ROOT

PAGE = (ROOT / "docs/what-it-takes.md").read_text()
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)
SERVICES = ("ingest", "shield", "router", "delivery", "events")
CONSUMERS = SERVICES[1:]
MONTH_S = 30 * 86_400
KB, MB, GB = 1e3, 1e6, 1e9
VOLUMES = {"100 million": 1e8, "1 billion": 1e9, "10 billion": 1e10}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its own heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = [row.split(" | ") for row in ROW.findall(section)]
    return found[2:]


def number(text: str) -> float:
    return float(re.findall(r"[\d.,]+", text)[0].replace(",", ""))


GIVEN = {name: number(value) for heading in ("Costs", "Assumptions")
         for name, value, *_ in rows(heading)}  # fmt: skip


def rounded(value: float) -> float:
    """To two digits."""
    return float(f"{value:.2g}")


@dataclass(frozen=True)
class Need:
    """What a volume takes. per_month: messages."""

    per_month: float
    given: Mapping[str, float]

    @cached_property
    def mean(self) -> float:
        return self.per_month / MONTH_S

    @cached_property
    def peak(self) -> float:
        return self.mean * self.given["Peak"]

    def cores(self, part: str) -> int:
        """At the peak, with room."""
        busy_cores = self.peak * self.given[f"CPU of {part}"] / 1000
        return ceil(busy_cores / (self.given["Use of a core"] / 100))

    def processes(self, service: str) -> int:
        return max(2, self.cores(service))

    @cached_property
    def partitions(self) -> int:
        most = max(map(self.processes, CONSUMERS))
        return ceil(most / 12) * 12

    @cached_property
    def kafka_bytes(self) -> float:
        days = self.given["Days in Kafka"]
        return self.per_month / 30 * days * self.given["Events in Kafka"] * KB * 3

    @cached_property
    def postgres_bytes(self) -> float:
        long, short = self.given["Rows kept for 30 days"], self.given["Rows kept for 9 days"]
        return self.per_month * (long + short * 9 / 30) * KB

    @cached_property
    def content_bytes(self) -> float:
        days = self.given["Days of content"]
        return self.per_month / 30 * days * self.given["A message"] * KB

    @cached_property
    def addresses(self) -> int:
        """So that the largest site gets its share of a busy hour in that hour."""
        busy = self.mean * self.given["Busy hour"] * self.given["Largest site"] / 100
        per_address = self.given["Connections there"] / self.given["A message takes there"]
        return max(2, ceil(busy / per_address))

    @cached_property
    def all_cores(self) -> int:
        return sum(map(self.processes, SERVICES)) + self.cores("Kafka") + self.cores("PostgreSQL")

    def row(self, name: str) -> float:
        made = {
            "Mean": self.mean,
            "Peak": self.peak,
            **{f"Processes of {one}": self.processes(one) for one in SERVICES},
            "Partitions of a topic": self.partitions,
            "Cores of Kafka": self.cores("Kafka"),
            "Cores of PostgreSQL": self.cores("PostgreSQL"),
            "Cores in all": self.all_cores,
            "Disk of Kafka, in all": self.kafka_bytes / GB,
            "Disk of each PostgreSQL": self.postgres_bytes / GB,
            "WAL at the peak": self.peak * self.given["WAL"] * KB / MB,
            "Content store": self.content_bytes / GB,
            "To receivers, at the peak": self.peak * self.given["A message"] * KB * 8 / 1e9,
            "Source addresses": self.addresses,
            "Of each of them in a day": self.per_month / 30 / self.addresses,
        }
        return made[name]


@pytest.mark.parametrize("row", rows("For a month"), ids=lambda row: row[0])
def test_the_needs_follow_from_costs_and_assumptions(row: list[str]) -> None:
    name, *cells = row
    for cell, per_month in zip(cells, VOLUMES.values(), strict=True):
        expected = Need(per_month, GIVEN).row(name)
        assert rounded(number(cell)) == rounded(expected), (name, cell, expected)


@pytest.mark.parametrize("row", rows("Limits"), ids=lambda row: row[0])
def test_the_limits_follow_too(row: list[str]) -> None:
    name, cost, limit, month = row
    cost_ms = GIVEN[f"CPU of {cost}"]
    per_s = number(name) * GIVEN["Use of a core"] / 100 * 1000 / cost_ms
    assert rounded(number(limit)) == rounded(per_s)
    assert rounded(number(month)) == rounded(per_s / GIVEN["Peak"] * MONTH_S / 1e9)


@pytest.mark.parametrize("row", rows("Warmup"), ids=lambda row: row[0])
def test_the_days_of_the_ramp_are_those_of_its_stages(row: list[str]) -> None:
    ramps = tomllib.loads((ROOT / "services/router/ramps.toml").read_text())["ramp"]
    [stages] = [one["stages"] for one in ramps if one["name"] == "default"]
    volume, days = map(number, row)
    assert days == next(day for day, stage in enumerate(stages, 1) if stage >= volume)
