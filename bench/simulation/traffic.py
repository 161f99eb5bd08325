"""What there is to send: recipients per site, tenant and step, and the incidents of a seed."""

from dataclasses import dataclass, field
from math import exp
from typing import NamedTuple

from numpy.random import Generator

from bench.simulation.parameters import DAY_S, HOUR_S, STEP_S, STEPS_PER_DAY, World
from bench.simulation.receiver import Receiver

USUAL, CAMPAIGNER = 0, 1
TENANTS = 2
MORNING = range(int(9 * HOUR_S / STEP_S), int(11 * HOUR_S / STEP_S))


class Quality(NamedTuple):
    complaints: float
    invalid: float


@dataclass
class Traffic:
    """arrivals(step): messages by site and tenant. demand: of each day, unknown recipients not
    counted."""

    world: World
    volume: int
    days: int
    random: Generator
    campaign_day: int = 0
    usual: Quality = field(init=False)
    demand: list[float] = field(default_factory=list)
    _day_volumes: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        mail, incidents, random = self.world.mail, self.world.incidents, self.random
        self.usual = Quality(mail["complaints"].draw(random), mail["invalid"].draw(random))
        self.campaign_day = draw_day(incidents["campaign_days"], self.days, random)
        for day in range(self.days):
            chance = exp(mail["day_sigma"] * float(random.standard_normal()))
            weekend = mail["weekend"] if day % 7 in (5, 6) else 1.0
            self._day_volumes.append(self.volume * chance * weekend)
            self.demand.append(self._day_volumes[-1] * (1 - self.usual.invalid))

    def quality(self, tenant: int, day: int) -> Quality:
        if tenant == CAMPAIGNER and day == self.campaign_day:
            incidents = self.world.incidents
            return Quality(incidents["campaign_complaints"], incidents["campaign_invalid"])
        return self.usual

    def arrivals(self, step: int) -> list[list[int]]:
        day, of_day = divmod(step, STEPS_PER_DAY)
        mail = self.world.mail
        messages, campaigner = self._day_volumes[day], mail["campaigner_share"]
        morning = 1 / len(MORNING) if of_day in MORNING else 0.0
        usual = (1 - mail["morning_share"]) / STEPS_PER_DAY + mail["morning_share"] * morning
        usual *= messages * (1 - campaigner)
        campaign = messages * campaigner * morning
        if day == self.campaign_day:
            campaign += self.volume * self.world.incidents["campaign_volume"] * morning
        return [
            [
                round_by_chance(usual * site.share, step),
                round_by_chance(campaign * site.share, step),
            ]
            for site in self.world.sites
        ]


def round_by_chance(value: float, step: int) -> int:
    """Rounds so that small numbers are right on average."""
    return int(value + (step * 0.618034) % 1.0)


def draw_day(between: list[int], days: int, random: Generator) -> int:
    """A day of the range, which is for a hundred days."""
    first, last = (day * days // 100 for day in between)
    return int(random.integers(first, max(last, first) + 1))


def plan_storms(receiver: Receiver, world: World, *, days: int, random: Generator) -> None:
    count = int(random.poisson(world.storms["per_month"] * days / 30))
    begins = sorted(float(random.uniform(0, days * DAY_S)) for _ in range(count))
    receiver.storms = [(b, b + world.storms["hours"].draw(random) * HOUR_S) for b in begins]


class Listing(NamedTuple):
    """One source is refused by one of the three largest receivers."""

    site: int
    ip: int
    begins_s: float
    ends_s: float


def plan_listing(world: World, days: int, random: Generator) -> Listing:
    day = draw_day(world.incidents["listing_days"], days, random)
    begins_s = day * DAY_S + float(random.uniform(0, DAY_S))
    ends_s = begins_s + world.incidents["listing_hours"].draw(random) * HOUR_S
    return Listing(int(random.integers(0, 3)), 0, begins_s, ends_s)
