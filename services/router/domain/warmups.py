"""The warmups of all egress sources as one policy source: it counts the facts, decides by
them when a stage begins, and turns stages into limits."""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil

from contracts.router.v1.policies_pb2 import WarmupCommand
from contracts.router.v1.results_pb2 import (
    RESULT_KIND_ATTEMPT,
    RESULT_KIND_BOUNCE,
    RESULT_KIND_COMPLAINT,
)
from services.router.domain import warmup
from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.ramps import HOURS_PER_DAY, Ramp
from services.router.domain.reasons import WaitReason
from services.router.domain.results import INVALID_CLASSES, ObservedResult
from services.router.domain.warmup import DAY_S, Warmup, WarmupChanged, WarmupFacts, WarmupStatus

Key = tuple[str, str]  # egress source, site
HOUR_S = 3600.0
# A day's allowance leaves in this many hours at the earliest: receivers judge bursts by the hour,
# and SendGrid's automated ramp counts by it. A morning's campaign still leaves on its day.
HOURS_MIN = 6
START, LOWER = "start", "lower"
COMMANDS: Mapping[str, Callable[[Warmup, float], WarmupChanged]] = {
    "pause": warmup.pause,
    "resume": warmup.resume,
    "finish": warmup.finish,
}
STATES_MAX = 100_000  # aggregates, beyond which only big sites get new ones
# Whether a recipient may be sent to from a source in warmup: those engaged first.
EngagedAt = Callable[[str, str], float | None]  # tenant id, address -> when last engaged, or None


def engaged_within(
    age_s: float, engaged_at: EngagedAt, *, now_s: float
) -> Callable[[str, str], bool]:
    """A filter of recipients for a source in warmup: engaged within this time."""

    def is_engaged(tenant_id: str, address: str) -> bool:
        at_s = engaged_at(tenant_id, address)
        return at_s is not None and now_s - at_s <= age_s

    return is_engaged


@dataclass(slots=True)
class WarmupDayCounter:
    """The facts of one aggregate's current day."""

    used: int = 0
    delivered: int = 0
    refused: int = 0
    bounced: int = 0
    complained: int = 0

    def record(self, result: ObservedResult, *, refusals: bool = True) -> None:
        """refusals: count them; a site with an aggregate of its own counts them there. A bounce or
        complaint that arrives as mail concerns a message that was counted when sent."""
        if result.kind == RESULT_KIND_COMPLAINT:
            self.complained += result.count
            return
        if result.kind == RESULT_KIND_BOUNCE:
            self.bounced += result.count if result.bounce_class in INVALID_CLASSES else 0
            return
        self.used += result.count
        if result.is_delivered:
            self.delivered += result.count
        elif result.is_refused_for_reputation:
            self.refused += result.count if refusals else 0
        elif result.bounce_class in INVALID_CLASSES:
            self.bounced += result.count

    def facts(self) -> WarmupFacts:
        return WarmupFacts(self.used, self.delivered, self.refused, self.bounced, self.complained)


class Warmups:
    """States by egress source and site; the site "" is the source as a whole.

    big_sites: those with an aggregate of their own; while a source warms up, a smaller site gets
    one when it refuses the source. spreads: whether a source has no overflow, so that the allowance
    of a day is spread over its hours.
    """

    kinds = (ScopeKind.WARMUP, ScopeKind.EGRESS_SITE)
    reason = WaitReason.WARMUP.value

    def __init__(
        self,
        ramps: Mapping[str, Ramp],
        *,
        big_sites: Iterable[str] = (),
        spreads: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._ramps = ramps
        self._big_sites = frozenset(big_sites)
        self._spreads = spreads
        self._states: dict[Key, Warmup] = {}
        self._facts: dict[Key, WarmupDayCounter] = {}
        self._touched: set[Key] = set()  # with new facts since the latest decision
        self._changed: set[Key] = set()  # with new facts since they were saved
        self._day_ends: list[tuple[float, Key]] = []  # a heap; outdated ones are skipped

    def state_of(self, egress_id: str, site: str = "") -> Warmup | None:
        return self._states.get((egress_id, site))

    def facts_of(self, egress_id: str, site: str = "") -> WarmupFacts:
        return self._facts[egress_id, site].facts()

    def apply(self, event: WarmupChanged) -> None:
        key = (event.egress_id, event.site)
        state = self._states.get(key) or Warmup(*key)
        self._states[key] = warmup.evolve(state, event)
        if warmup.begins_day(event):
            self._begin_day(self._states[key])

    def _begin_day(self, state: Warmup) -> None:
        key = (state.egress_id, state.site)
        self._facts[key] = WarmupDayCounter()
        self._changed.add(key)
        heappush(self._day_ends, (state.day_s + DAY_S, key))

    def load(self, state: Warmup) -> None:
        key = (state.egress_id, state.site)
        last = len(self._ramp_of(state).stages) - 1
        state = self._states[key] = state._replace(stage=min(state.stage, last))
        self._begin_day(state)
        self._changed.discard(key)

    def _ramp_of(self, state: Warmup) -> Ramp:
        """Another one if the operator has removed the ramp of a source that still warms up."""
        return self._ramps.get(state.ramp) or next(iter(self._ramps.values()))

    def load_facts(self, egress_id: str, site: str, counts: Iterable[int]) -> None:
        if (egress_id, site) in self._facts:
            self._facts[egress_id, site] = WarmupDayCounter(*counts)

    def drain_facts(self) -> dict[Key, WarmupFacts]:
        """The facts that have changed since the last call."""
        changed, self._changed = self._changed, set()
        return {key: self._facts[key].facts() for key in changed if key in self._facts}

    def retain(self, egress_ids: Collection[str]) -> None:
        """Forget the sources that no longer exist."""
        for key in [key for key in self._states if key[0] not in egress_ids]:
            del self._states[key], self._facts[key]

    def all_states(self) -> list[Warmup]:
        return [state for _, state in sorted(self._states.items())]

    def stages_of(self, state: Warmup) -> int:
        return len(self._ramp_of(state).stages)

    def states(self, egress_id: str) -> list[Warmup]:
        """That of the source as a whole comes first."""
        found = [state for key, state in self._states.items() if key[0] == egress_id]
        return sorted(found, key=lambda state: state.site)

    def is_limited(self, egress_id: str) -> bool:
        state = self._states.get((egress_id, ""))
        return state is not None and warmup.allowance(state) > 0

    def is_warming(self, egress_id: str, site: str) -> bool:
        """Whether the source is limited at the site, there or as a whole."""
        at_site = self._states.get((egress_id, site))
        return self.is_limited(egress_id) or bool(at_site and warmup.allowance(at_site))

    def record(self, results: Iterable[ObservedResult]) -> list[WarmupChanged]:
        """Count results. The events are applied already."""
        events = []
        for result in results:
            whole = self._facts.get((result.egress_id, ""))
            if whole is None or not result.connected:
                continue
            if self._needs_start(result):
                events.append(self._start_at(result))
            at_site = self._facts.get((result.egress_id, result.site))
            whole.record(result, refusals=at_site is None)
            self._touch((result.egress_id, ""))
            if at_site:
                at_site.record(result)
                self._touch((result.egress_id, result.site))
        return events

    def _touch(self, key: Key) -> None:
        self._touched.add(key)
        self._changed.add(key)

    def _needs_start(self, result: ObservedResult) -> bool:
        if result.kind != RESULT_KIND_ATTEMPT or (result.egress_id, result.site) in self._states:
            return False
        if self._states[result.egress_id, ""].status is WarmupStatus.FINISHED:
            return False
        if result.site in self._big_sites:
            return True
        return result.is_refused_for_reputation and len(self._states) < STATES_MAX

    def _start_at(self, result: ObservedResult) -> WarmupChanged:
        ramp = self._ramp_of(self._states[result.egress_id, ""])
        event = warmup.start(result.egress_id, result.site, ramp=ramp, now_s=result.answered_s)
        self.apply(event)
        return event

    def record_complaints(self, egress_id: str, site: str, count: int) -> None:
        for key in ((egress_id, ""), (egress_id, site)):
            if facts := self._facts.get(key):
                facts.complained += count
                self._touch(key)

    def decide(self, now_s: float) -> list[WarmupChanged]:
        """Decide for those with new facts, or whose day has ended. The events are applied."""
        while self._day_ends and self._day_ends[0][0] <= now_s:
            self._touched.add(heappop(self._day_ends)[1])
        events = []
        for key in sorted(self._touched & self._states.keys()):
            state = self._states[key]
            ramp, facts = self._ramp_of(state), self._facts[key].facts()
            for event in warmup.decide(state, facts, ramp=ramp, now_s=now_s):
                self.apply(event)
                events.append(event)
        self._touched.clear()
        return events

    def execute(self, command: WarmupCommand, now_s: float) -> list[WarmupChanged]:
        """What an operator commands; sites follow the source. The events are applied already.
        Raises ValueError if the command does not apply."""
        if command.action == START:
            events = self._start(command.egress_id, command.ramp, now_s)
        elif (whole := self._states.get((command.egress_id, ""))) is None:
            raise ValueError("the source is not warming up. Start its warmup first.")
        elif command.action == LOWER:
            ramp = self._ramp_of(whole)
            events = [warmup.lower(whole, command.stage, ramp=ramp, now_s=now_s)]
        else:
            events = self._change(command.egress_id, COMMANDS[command.action], now_s)
        for event in events:
            self.apply(event)
        return events

    def _start(self, egress_id: str, name: str, now_s: float) -> list[WarmupChanged]:
        if (ramp := self._ramps.get(name)) is None:
            raise ValueError(f"there is no ramp {name!r}. Use {', '.join(self._ramps)}.")
        sites = ["", *(state.site for state in self.states(egress_id) if state.site)]
        return [warmup.start(egress_id, site, ramp=ramp, now_s=now_s) for site in sites]

    def _change(
        self, egress_id: str, decide: Callable[[Warmup, float], WarmupChanged], now_s: float
    ) -> list[WarmupChanged]:
        whole, *sites = self.states(egress_id)
        events = [decide(whole, now_s)]
        for state in sites:
            with suppress(ValueError):  # a site in another status stays as it is
                events.append(decide(state, now_s))
        return events

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits:
        key = (scope.id, "")
        if scope.kind is ScopeKind.EGRESS_SITE:
            egress_id, site = scope.id.split("/")[:2]
            key = (egress_id, site)
        state = self._states.get(key) or self._first_state(key)
        if state is None or not (per_day := warmup.allowance(state)):
            return NO_LIMITS
        return Limits(per_hour=self._per_hour(state, per_day, now_s), per_day=per_day)

    def _first_state(self, key: Key) -> Warmup | None:
        """Of a big site that the source has not yet sent to."""
        whole = self._states.get((key[0], ""))
        if whole is None or whole.status is WarmupStatus.FINISHED or key[1] not in self._big_sites:
            return None
        first = self._ramp_of(whole).per_day(0)
        return Warmup(*key, WarmupStatus.RAMPING, whole.ramp, per_day=first)

    def _per_hour(self, state: Warmup, per_day: int, now_s: float) -> int:
        if self._ramp_of(state).per == "hour":
            return ceil(per_day / HOURS_PER_DAY)
        if state.site or not self._spreads(state.egress_id):
            return ceil(per_day / HOURS_MIN)
        left = per_day - self._facts[state.egress_id, ""].used
        hours = min(max(ceil((state.day_s + DAY_S - now_s) / HOUR_S), 1), HOURS_PER_DAY)
        return max(ceil(left / hours), 1)

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
        """A warmup limits and never suspends."""
        return None
