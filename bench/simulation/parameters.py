"""The world's parameters: world.toml, as types."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import exp, log
from pathlib import Path
from typing import Any, NamedTuple

from numpy.random import Generator

STEP_S = 3600.0
HOUR_S = 3600.0
DAY_S = 86_400.0
STEPS_PER_HOUR = int(HOUR_S / STEP_S)
STEPS_PER_DAY = int(DAY_S / STEP_S)


class Distribution(NamedTuple):
    """Log-normal."""

    median: float
    sigma: float

    def draw(self, random: Generator) -> float:
        return exp(log(self.median) + self.sigma * float(random.standard_normal()))


class Site(NamedTuple):
    """A receiver. reports: whether it sends complaints back."""

    name: str
    host: str
    share: float
    deferred: str
    blocked: str
    reports: bool = False
    greylists: bool = False


@dataclass(frozen=True)
class World:
    """The tables of world.toml. A table {median, sigma} is a Distribution."""

    sites: tuple[Site, ...]
    receiver: Mapping[str, Any]
    storms: Mapping[str, Any]
    greylisting: Mapping[str, Any]
    incidents: Mapping[str, Any]
    mail: Mapping[str, Any]


def read(name: str) -> dict[str, Any]:
    return tomllib.loads((files("bench.simulation") / name).read_text("utf-8"))


@lru_cache(maxsize=4)
def load_world(path: Path | None = None) -> World:
    """path: a file like world.toml, instead of it."""
    data = tomllib.loads(path.read_text("utf-8")) if path else read("world.toml")
    sites = tuple(Site(**entry) for entry in data.pop("site"))
    return World(sites, **{name: with_distributions(table) for name, table in data.items()})


def with_distributions(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Distribution(**value) if isinstance(value, dict) else value
        for name, value in table.items()
    }
