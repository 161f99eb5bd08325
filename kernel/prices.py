"""The price book: what plans cost, include and admit, from a date on.

It is a file in TOML. That of the engine, `prices.toml` beside this module, shows its form; another
one is named by a setting. Money is counted in micro-units, a millionth of the currency, so that no
binary fraction is near it.
"""

import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from kernel.errors import ConfigError

MICRO = 1_000_000
RETENTION_DAYS = 30

MeterName = Literal["sends", "domains", "mailboxes"]
Feature = Literal["api", "smtp", "white_label", "dedicated_ips"]
Limited = Literal["domains", "mailboxes", "tenants"]
METERS: tuple[MeterName, ...] = MeterName.__args__  # type: ignore[attr-defined]
Amount = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$")]
Count = Annotated[int, Meta(ge=0, le=10**12)]
Positive = Annotated[int, Meta(ge=1, le=10**12)]


class Tier(Struct, frozen=True, forbid_unknown_fields=True):
    """amount: of `per` units up to this quantity, the included ones counted; without up_to, of all
    further units."""

    amount: Amount
    up_to: Positive | None = None

    @property
    def micros(self) -> int:
        return micros_of(self.amount)


class Meter(Struct, frozen=True, forbid_unknown_fields=True):
    """What units of a meter cost. included: units in the fee. round: exact, or whole `per` units
    for those that were started."""

    tiers: tuple[Tier, ...]
    included: Count = 0
    per: Positive = 1
    round: Literal["exact", "started"] = "exact"


class Quota(Struct, frozen=True, forbid_unknown_fields=True):
    """How many messages are admitted in a month and on a day, in UTC. hard: beyond that they are
    refused; soft: they are accepted, and their number is reported."""

    month: Positive | None = None
    day: Positive | None = None
    enforcement: Literal["soft", "hard"] = "soft"

    @property
    def is_hard(self) -> bool:
        return self.enforcement == "hard"


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """What an account may use, and what it costs in a month. retention_days: for how many days from
    their acceptance on the log keeps its messages, if that is longer than for everybody. limits: of
    what exists at the same time."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    fee: Amount
    features: frozenset[Feature] = frozenset()
    retention_days: Annotated[int, Meta(ge=1, le=400)] = RETENTION_DAYS
    quota: Quota = Quota()
    limits: dict[Limited, Count] = {}
    meters: dict[MeterName, Meter] = {}

    @property
    def sends_expected(self) -> int | None:
        """What the use of a month is compared with: its quota, or else what the fee includes."""
        sends = self.meters.get("sends")
        return self.quota.month or (sends.included if sends else 0) or None


class PriceList(Struct, frozen=True):
    """The plans in force from a day on."""

    effective_from: date
    plans: Mapping[str, Plan]


class PriceBook:
    def __init__(self, currency: str, prices: tuple[PriceList, ...]) -> None:
        """prices: the oldest first."""
        self.currency = currency
        self.prices = prices

    def plans(self, day: date) -> Mapping[str, Plan]:
        """By id. Before the first prices, those."""
        known = [one for one in self.prices if one.effective_from <= day] or self.prices[:1]
        return known[-1].plans

    def find(self, plan_id: str, day: date) -> Plan | None:
        return self.plans(day).get(plan_id)


def micros_of(amount: str) -> int:
    return int(Decimal(amount) * MICRO)


def read_prices(path: str) -> PriceBook:
    """The price book of a file; the engine's own without one. Raises ConfigError."""
    try:
        own = files("kernel") / "prices.toml"
        text = Path(path).read_text("utf-8") if path else own.read_text("utf-8")
        return parse_prices(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"OBM_PRICES_FILE: {error}") from error


class _Table(Struct, forbid_unknown_fields=True):
    effective_from: date
    plans: dict[Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,39}$")], dict[str, Any]]


class _Document(Struct, forbid_unknown_fields=True):
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    prices: Annotated[list[_Table], Meta(min_length=1)]


def parse_prices(text: str) -> PriceBook:
    """Raises ValueError; of several faults in plans, with one a line."""
    document = msgspec.convert(tomllib.loads(text), _Document)
    faults: list[str] = []
    prices = tuple(_prices(table, faults) for table in document.prices)
    faults += _order_faults(prices)
    if faults:
        raise ValueError("\n".join(faults))
    return PriceBook(document.currency, prices)


def _prices(table: _Table, faults: list[str]) -> PriceList:
    """Adds what is wrong to the faults."""
    where = f"[[prices]] of {table.effective_from}"
    if table.effective_from.day != 1:
        faults.append(f"{where}: effective_from must be the first day of a month.")
    if not table.plans:
        faults.append(f"{where}: there are no plans.")
    plans: dict[str, Plan] = {}
    for plan_id, given in table.plans.items():
        try:
            plan = plans[plan_id] = msgspec.convert(given, Plan)
        except msgspec.ValidationError as error:
            faults.append(f"{where}, plan {plan_id}: {error}")
        else:
            faults += (f"{where}, plan {plan_id}: {fault}" for fault in _plan_faults(plan))
    return PriceList(table.effective_from, plans)


def _plan_faults(plan: Plan) -> Iterator[str]:
    if plan.quota.is_hard and not (plan.quota.month or plan.quota.day):
        yield "a hard quota needs month or day."
    for name, meter in plan.meters.items():
        ends = [tier.up_to for tier in meter.tiers]
        if not ends or ends[-1] is not None or None in ends[:-1]:
            yield f"{name}: all tiers but the last need up_to."
        elif any(a >= b for a, b in pairwise([meter.included, *filter(None, ends)])):
            yield f"{name}: up_to must grow from tier to tier, from what is included on."


def _order_faults(prices: tuple[PriceList, ...]) -> Iterator[str]:
    for before, after in pairwise(prices):
        if before.effective_from >= after.effective_from:
            yield f"[[prices]] of {after.effective_from}: they must follow in order of the day."
        if gone := sorted(before.plans.keys() - after.plans.keys()):
            yield (
                f"[[prices]] of {after.effective_from}: the plan {gone[0]} is gone. Keep it for "
                "the accounts that have it."
            )
