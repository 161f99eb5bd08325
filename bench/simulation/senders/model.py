"""What the simulation asks of a sender, and the models of other senders."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from bench.simulation.parameters import HOUR_S, STEP_S, STEPS_PER_DAY, World
from bench.simulation.receiver import Reply

MANY = 1_000_000_000
NOTICES_AFTER = 50  # refusals on the way before a sender that reacts has reacted (assumed)


class Cell(NamedTuple):
    """A source at a site, as indexes."""

    ip: int
    site: int


class Sender(Protocol):
    """overflows: what it does not send on its day goes through other, warm sources."""

    overflows: bool
    lifetime_s: float
    attempts_max: int
    attempts_counted: int  # more of them change nothing
    notices_after: int

    def begin_step(self, step: int) -> None: ...

    def source_room(self, ip: int) -> int: ...

    def room(self, cell: Cell) -> int: ...

    def may_send(self, tenant: int) -> bool: ...

    def observe(self, cell: Cell, tenant: int, reply: Reply) -> None: ...

    def end_step(self) -> None: ...

    def hear_complaints(self, cell: Cell, tenant: int, count: int) -> None: ...

    def retry_s(self, attempts: int) -> float: ...

    def count_violations(self, steps: int) -> int: ...


class Rule(NamedTuple):
    """A rule of a traffic shaping automation. per_minute: 0 means that it suspends."""

    pattern: str
    duration_s: float
    sites: tuple[str, ...] = ()
    threshold: int = 1
    per_minute: int = 0


@dataclass
class Model:
    """A sender with a fixed retry schedule, and perhaps a ramp or rules that react to replies."""

    world: World
    entry: Mapping[str, Any]
    ramp: tuple[int, ...] = ()
    overflows: bool = False
    now_s: float = 0.0
    step: int = 0
    _until: dict[Cell, list[tuple[float, int]]] = field(default_factory=dict)
    _hits: dict[tuple[int, Cell], list[float]] = field(default_factory=dict)
    _stages: dict[int, int] = field(default_factory=dict)
    _used: dict[int, int] = field(default_factory=dict)
    _delivered: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lifetime_s = float(self.entry["lifetime_s"])
        self.attempts_max = int(self.entry.get("attempts_max", MANY))
        schedule = len(self.entry["retry_s"])
        self.attempts_counted = max(schedule, int(self.entry.get("attempts_max", 0)))
        self.notices_after = NOTICES_AFTER if self.entry.get("reacts") else MANY
        self._per_step = int(self.entry.get("per_second", 0) * STEP_S) or MANY
        self._rules = [Rule(**with_tuple(rule)) for rule in self.entry.get("rule", ())]
        self._matching: dict[tuple[str, str], list[tuple[int, Rule]]] = {}

    def begin_step(self, step: int) -> None:
        self.step, self.now_s = step, step * STEP_S
        if step % STEPS_PER_DAY == 0 and self.ramp:
            self._end_day()

    def _end_day(self) -> None:
        """SparkPost's rule is the next stage after more than 90 % of this one was delivered; an
        operator who follows a schedule goes by the calendar."""
        needed = 0.0 if self.entry.get("by_calendar") else 0.9
        for ip, delivered in self._delivered.items():
            stage = self._stages.get(ip, 0)
            if stage < len(self.ramp) and delivered > needed * self.ramp[stage]:
                self._stages[ip] = stage + 1
        self._used.clear()
        self._delivered.clear()

    def source_room(self, ip: int) -> int:
        stage = self._stages.get(ip, 0)
        if not self.ramp or stage >= len(self.ramp):
            return MANY
        return max(self.ramp[stage] - self._used.get(ip, 0), 0)

    def room(self, cell: Cell) -> int:
        room = self._per_step
        for until_s, per_minute in self._until.get(cell, ()):
            if until_s > self.now_s:
                room = min(room, int(per_minute * STEP_S / 60))
        return room

    def may_send(self, tenant: int) -> bool:
        return True

    def observe(self, cell: Cell, tenant: int, reply: Reply) -> None:
        self._used[cell.ip] = self._used.get(cell.ip, 0) + reply.attempted
        self._delivered[cell.ip] = self._delivered.get(cell.ip, 0) + reply.delivered
        for refusal in reply.refusals:
            for number, rule in self._rules_for(self.world.sites[cell.site].name, refusal.text):
                self._hit(number, rule, cell, count=refusal.messages)

    def _rules_for(self, site: str, text: str) -> list[tuple[int, Rule]]:
        if (site, text) not in self._matching:
            self._matching[site, text] = [
                (number, rule)
                for number, rule in enumerate(self._rules)
                if (not rule.sites or site in rule.sites) and re.search(rule.pattern, text)
            ]
        return self._matching[site, text]

    def _hit(self, number: int, rule: Rule, cell: Cell, *, count: int) -> None:
        hits = [at_s for at_s in self._hits.get((number, cell), ()) if at_s > self.now_s - HOUR_S]
        hits += [self.now_s] * min(count, rule.threshold)
        self._hits[number, cell] = hits
        if len(hits) >= rule.threshold:
            current = [each for each in self._until.get(cell, ()) if each[0] > self.now_s]
            self._until[cell] = [*current, (self.now_s + rule.duration_s, rule.per_minute)]

    def end_step(self) -> None:
        """It has reacted to each reply already."""

    def hear_complaints(self, cell: Cell, tenant: int, count: int) -> None:
        """They do nothing by themselves."""

    def count_violations(self, steps: int) -> int:
        """It has no limits that a referee could read."""
        return 0

    def retry_s(self, attempts: int) -> float:
        schedule = self.entry["retry_s"]
        return float(schedule[min(attempts, len(schedule)) - 1])


def with_tuple(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {**rule, "sites": tuple(rule.get("sites", ()))}
