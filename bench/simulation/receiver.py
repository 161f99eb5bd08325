"""A receiver: how much it takes from a source depends on what it has seen of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.random import Generator

from bench.simulation.parameters import DAY_S, HOUR_S, Site, World

RATE_LIMITED, BLOCKED, DOMAIN, STORM, GREYLISTED, INVALID = (
    "rate_limited",
    "blocked",
    "domain",
    "storm",
    "greylisted",
    "invalid",
)
REPUTATION = frozenset((RATE_LIMITED, BLOCKED, DOMAIN))
INVALID_TEXT = "550 5.1.1 The email account that you tried to reach does not exist"
DOMAIN_TEXT = (
    "421 4.7.0 This message is suspicious due to the very low reputation of the sending domain"
)
DOMAIN_REFUSED = 0.8  # of the mail of a domain with a bad name


class Refusal(NamedTuple):
    kind: str
    text: str
    messages: int


class Reply(NamedTuple):
    """attempted: delivered and refused; less than offered if the sender stopped."""

    delivered: int
    refusals: tuple[Refusal, ...]
    attempted: int

    @classmethod
    def of(cls, delivered: int, refusals: list[Refusal]) -> "Reply":
        refused = sum(refusal.messages for refusal in refusals)
        return cls(delivered, tuple(refusals), delivered + refused)


class Offer(NamedTuple):
    """first, again: messages in their first and later attempts. invalid: the share of unknown
    recipients. notices_after: refusals after which the sender stops."""

    tenant: int
    first: int
    again: int
    invalid: float
    notices_after: int


class Block(NamedTuple):
    """own_doing: not the listing that hits every sender."""

    begins_s: float
    ends_s: float
    own_doing: bool


@dataclass(slots=True)
class Rates:
    """Delivered, complained and invalid, fading by the receiver's memory."""

    delivered: float = 0.0
    complained: float = 0.0
    invalid: float = 0.0

    def fade(self, factor: float) -> None:
        self.delivered *= factor
        self.complained *= factor
        self.invalid *= factor


@dataclass(slots=True)
class Seen:
    """What a receiver knows of one source."""

    best: float = 0.0  # accepted in the best day in memory
    today: int = 0
    hour: int = 0
    excess: int = 0
    knocks: int = 0
    known: int = 0  # messages that came back after greylisting
    factor: float = 1.0
    tolerance: float = 0.0
    blocked_until_s: float = 0.0
    block_level: int = 0
    rates: Rates = field(default_factory=Rates)
    blocks: list[Block] = field(default_factory=list)


class Receiver:
    """The clock calls begin_hour and begin_day, senders offer, recipients complain."""

    def __init__(
        self, site: Site, world: World, *, ips: int, tenants: int, random: Generator
    ) -> None:
        self.site = site
        self._rules: Mapping[str, Any] = world.receiver
        self._world = world
        self._random = random
        self._unknown_per_day = self._rules["unknown_per_day"].draw(random)
        self._growth = max(self._rules["growth"].draw(random), 1.4)
        self._domains = [Rates() for _ in range(tenants)]
        self._day_fade = 0.5 ** (1 / self._rules["memory_days"])
        self._hour_fade = 0.5 ** (1 / (24 * self._rules["rate_days"]))
        self.storms: list[tuple[float, float]] = []
        self.seen = [Seen() for _ in range(ips)]
        self.begin_hour(0.0)

    def begin_day(self) -> None:
        for seen in self.seen:
            seen.best = max(seen.best * self._day_fade, float(seen.today))
            seen.today = seen.excess = 0

    def begin_hour(self, now_s: float) -> None:
        for rates in self._domains:
            rates.fade(self._hour_fade)
        for seen in self.seen:
            seen.hour = seen.knocks = 0
            seen.rates.fade(self._hour_fade)
            self._decide(seen, now_s)
            seen.tolerance = seen.factor * max(self._unknown_per_day, self._growth * seen.best)

    def _decide(self, seen: Seen, now_s: float) -> None:
        rates, rules = seen.rates, self._rules
        seen.factor = self._factor_of_blocks(seen, now_s)
        if rates.delivered + rates.invalid < rules["rated_min"]:
            return
        complained = rates.complained / max(rates.delivered, 1.0)
        invalid = rates.invalid / (rates.delivered + rates.invalid)
        seen.factor *= interpolate(complained, rules["complaint_rates"], rules["complaint_factors"])
        if invalid >= rules["invalid_halves"]:
            seen.factor /= 2
        is_bad = complained >= rules["complaint_rates"][-1] or invalid >= rules["invalid_blocks"]
        if is_bad and now_s >= seen.blocked_until_s:
            self._block(seen, now_s)

    def _factor_of_blocks(self, seen: Seen, now_s: float) -> float:
        since_s = now_s - self._rules["block_factor_days"] * DAY_S
        recent = sum(block.own_doing and block.ends_s > since_s for block in seen.blocks)
        factor: float = self._rules["block_factor"] ** recent
        lowest: float = self._rules["block_factor_min"]
        return max(factor, lowest)

    def _block(self, seen: Seen, now_s: float) -> None:
        if seen.blocks and now_s - seen.blocks[-1].ends_s > 7 * DAY_S:
            seen.block_level = 0
        hours = self._rules["block_hours"].draw(self._random) * 2**seen.block_level
        seen.block_level += 1
        seen.best *= self._rules["block_memory"]
        ends_s = now_s + min(hours, self._rules["block_hours_max"]) * HOUR_S
        self.list_source(seen, now_s, ends_s, own_doing=True)

    def list_source(self, seen: Seen, begins_s: float, ends_s: float, *, own_doing: bool) -> None:
        seen.blocked_until_s = max(seen.blocked_until_s, ends_s)
        seen.blocks.append(Block(begins_s, seen.blocked_until_s, own_doing))

    def complain(self, ip: int, tenant: int, count: int) -> None:
        self.seen[ip].rates.complained += count
        self._domains[tenant].complained += count

    def offer(self, ip: int, offer: Offer, now_s: float) -> Reply:
        seen = self.seen[ip]
        if now_s < seen.blocked_until_s:
            return self._refuse_blocked(seen, offer, now_s)
        if self._in_storm(now_s):
            return self._take(seen, offer, self._storm_refusals(offer), now_s=now_s)
        refusals = self._refuse_domain(offer)
        if self.site.greylists and seen.known < self._world.greylisting["known_after"]:
            seen.known += offer.again
            if offer.first:
                refusals.append(Refusal(GREYLISTED, self._world.greylisting["text"], offer.first))
        return self._take(seen, offer, refusals, now_s=now_s)

    def _refuse_blocked(self, seen: Seen, offer: Offer, now_s: float) -> Reply:
        count = min(offer.first + offer.again, offer.notices_after)
        seen.knocks += count
        block = seen.blocks[-1]
        longer_s = now_s + self._rules["knock_hours"] * HOUR_S
        if seen.knocks > self._rules["knocks_per_hour"] and longer_s > seen.blocked_until_s:
            seen.blocked_until_s = longer_s
            seen.blocks[-1] = block._replace(ends_s=longer_s)
        text = self.site.blocked if block.own_doing else self._world.incidents["listing_text"]
        return Reply.of(0, [Refusal(BLOCKED, text, count)])

    def _in_storm(self, now_s: float) -> bool:
        while self.storms and self.storms[0][1] <= now_s:
            self.storms.pop(0)
        return bool(self.storms) and self.storms[0][0] <= now_s

    def _storm_refusals(self, offer: Offer) -> list[Refusal]:
        count = round((offer.first + offer.again) * self._world.storms["share"])
        return [Refusal(STORM, self._world.storms["text"], count)] if count else []

    def _refuse_domain(self, offer: Offer) -> list[Refusal]:
        rates = self._domains[offer.tenant]
        if rates.delivered < self._rules["rated_min"]:
            return []
        if rates.complained / rates.delivered < self._rules["complaint_rates"][-1]:
            return []
        count = min(round((offer.first + offer.again) * DOMAIN_REFUSED), offer.notices_after)
        return [Refusal(DOMAIN, DOMAIN_TEXT, count)] if count else []

    def _take(self, seen: Seen, offer: Offer, refusals: list[Refusal], *, now_s: float) -> Reply:
        """Accept what the history allows, refuse the rest, and block whoever does not stop."""
        left = offer.first + offer.again - sum(refusal.messages for refusal in refusals)
        room = min(
            seen.tolerance - seen.today,
            seen.tolerance * self._rules["hour_share"] - seen.hour,
        )
        taken = max(min(left, int(room)), 0)
        if excess := min(left - taken, offer.notices_after):
            refusals.append(Refusal(RATE_LIMITED, self.site.deferred, excess))
            self._count_excess(seen, excess, now_s)
        invalid = int(self._random.binomial(taken, offer.invalid)) if taken and offer.first else 0
        if invalid:
            refusals.append(Refusal(INVALID, INVALID_TEXT, invalid))
        delivered = taken - invalid
        seen.today += taken
        seen.hour += taken
        seen.rates.delivered += delivered
        seen.rates.invalid += invalid
        self._domains[offer.tenant].delivered += delivered
        return Reply.of(delivered, refusals)

    def _count_excess(self, seen: Seen, excess: int, now_s: float) -> None:
        seen.excess += excess
        if seen.excess > max(
            self._rules["block_excess"] * seen.tolerance, self._rules["block_excess_min"]
        ):
            self._block(seen, now_s)


def interpolate(value: float, xs: list[float], ys: list[float]) -> float:
    if value <= xs[0]:
        return ys[0]
    for x0, x1, y0, y1 in zip(xs, xs[1:], ys, ys[1:], strict=False):
        if value < x1:
            return y0 + (y1 - y0) * (value - x0) / (x1 - x0)
    return ys[-1]
