"""What a sender has yet to send: fresh messages, and those that wait for another attempt."""

from collections import defaultdict
from typing import NamedTuple

from bench.simulation.parameters import STEP_S
from bench.simulation.traffic import TENANTS


class Age(NamedTuple):
    """Of deferred messages. attempts: made so far. born_s: when they came."""

    attempts: int
    born_s: float


Counts = dict[Age, int]


class Taken(NamedTuple):
    """Messages for one offer: fresh ones, and deferred ones."""

    fresh: int
    again: Counts
    again_count: int


class Outbox:
    def __init__(self, sites: int) -> None:
        self.fresh = [[0] * TENANTS for _ in range(sites)]
        self.expired = 0
        self._ready: list[list[Counts]] = [[{} for _ in range(TENANTS)] for _ in range(sites)]
        self._ready_count = [[0] * TENANTS for _ in range(sites)]
        self._due: dict[int, dict[tuple[int, int, Age], int]] = defaultdict(dict)

    def begin_step(self, step: int, *, lifetime_s: float) -> None:
        for (site, tenant, age), count in self._due.pop(step, {}).items():
            if step * STEP_S - age.born_s > lifetime_s:
                self.expired += count
            else:
                self.put_ready(site, tenant, age, count=count)

    def put_ready(self, site: int, tenant: int, age: Age, *, count: int) -> None:
        ready = self._ready[site][tenant]
        ready[age] = ready.get(age, 0) + count
        self._ready_count[site][tenant] += count

    def waiting(self, site: int, tenant: int) -> int:
        return self.fresh[site][tenant] + self._ready_count[site][tenant]

    def take(self, site: int, tenant: int, number: int) -> Taken:
        """Deferred ones first."""
        again = take_from(self._ready[site][tenant], number)
        again_count = sum(again.values())
        self._ready_count[site][tenant] -= again_count
        fresh = min(self.fresh[site][tenant], number - again_count)
        self.fresh[site][tenant] -= fresh
        return Taken(fresh, again, again_count)

    def defer(self, site: int, tenant: int, age: Age, *, count: int, step: int) -> None:
        due, key = self._due[step], (site, tenant, age)
        due[key] = due.get(key, 0) + count

    def drop_fresh(self) -> int:
        """Give what has not been tried to another pool. Returns how much it was."""
        dropped = sum(map(sum, self.fresh))
        self.fresh = [[0] * TENANTS for _ in self.fresh]
        return dropped


def take_from(pile: Counts, number: int) -> Counts:
    """Take a number of messages from a pile, the latest to join it first."""
    taken: Counts = {}
    while number > 0 and pile:
        age, count = pile.popitem()
        if count > number:
            pile[age] = count - number
            count = number
        if count:
            taken[age] = count
        number -= count
    return taken
