"""The engine as a sender: its warmup, shaping, feedback and reputation modules decide. This file
only counts what they limit, as the ledger of the scheduler does."""

import re
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from bench.simulation.parameters import STEP_S, STEPS_PER_DAY, STEPS_PER_HOUR, World
from bench.simulation.receiver import Refusal, Reply
from bench.simulation.referee import Referee, Sent
from bench.simulation.senders.model import MANY, NOTICES_AFTER, Cell
from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_TEMPORARY,
    AttemptOutcome,
)
from mail import bounce
from services.router.domain import warmup
from services.router.domain.feedback import FeedbackController
from services.router.domain.feedback_rules import parse_feedback_rules
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import Limits
from services.router.domain.policies import CombinedPolicies, ShapingPolicies, egress_site_scope
from services.router.domain.ramps import parse_ramps
from services.router.domain.results import ObservedResult
from services.router.domain.retry import SCHEDULE_S, RetryPolicy
from services.router.domain.shaping import SiteLimits, parse_shaping, provider_sites
from services.router.domain.standings import StandingController
from services.router.domain.warmups import Warmups

IN_FLIGHT_MAX = 400  # the default of the router's settings
REPLY_S = 1.0  # from an assignment to its result (assumed)
RAMP = "default"
_REPLY = re.compile(r"(\d)\d\d[ -](?:(\d\.\d+\.\d+) )?(.*)", re.DOTALL)


class Meaning(NamedTuple):
    outcome: AttemptOutcome.ValueType
    bounce_class: str
    enhanced_code: str
    text: str


@lru_cache(maxsize=1024)
def classify(text: str) -> Meaning:
    found = _REPLY.match(text)
    enhanced, rest = (found[2] or "", found[3]) if found else ("", text)
    bounce_class = bounce.classify(int(text[:3]), enhanced, rest).name
    outcome = ATTEMPT_OUTCOME_PERMANENT if text[0] == "5" else ATTEMPT_OUTCOME_TEMPORARY
    return Meaning(outcome, bounce_class, enhanced, rest)


@lru_cache(maxsize=1)
def load_rules() -> tuple[str, str, str]:
    folder = files("services.router")
    names = ("ramps.toml", "shaping.toml", "feedback.toml")
    ramps, shaping, feedback = ((folder / name).read_text("utf-8") for name in names)
    return ramps, shaping, feedback


class Usage:
    """The messages of a scope in the latest steps; the oldest counts in full."""

    __slots__ = ("buckets", "day", "hour", "step")

    def __init__(self) -> None:
        self.buckets = [0] * (STEPS_PER_DAY + 1)
        self.step = self.day = self.hour = 0

    def advance(self, step: int) -> None:
        size = len(self.buckets)
        while self.step < step:
            self.step += 1
            self.hour -= self.buckets[(self.step - STEPS_PER_HOUR - 1) % size]
            self.day -= self.buckets[self.step % size]
            self.buckets[self.step % size] = 0

    def add(self, number: int) -> None:
        self.buckets[self.step % len(self.buckets)] += number
        self.hour += number
        self.day += number

    def in_step(self) -> int:
        return self.buckets[self.step % len(self.buckets)]

    def room(self, limits: Limits) -> int:
        room = MANY
        if limits.per_day:
            room = min(room, limits.per_day - self.day)
        if limits.per_hour:
            room = min(room, limits.per_hour - self.hour)
        if limits.per_minute:
            room = min(room, int(limits.per_minute * STEP_S / 60) - self.in_step())
        if limits.per_second:
            room = min(room, int(limits.per_second * STEP_S) - self.in_step())
        if limits.in_flight_max:
            room = min(room, int(limits.in_flight_max * STEP_S / REPLY_S) - self.in_step())
        return max(room, 0)


class Engine:
    overflows = True
    lifetime_s = 72 * 3600.0
    attempts_max = MANY
    attempts_counted = len(SCHEDULE_S)
    notices_after = NOTICES_AFTER

    def __init__(self, world: World, ips: int, ramp: str = RAMP) -> None:
        self.world = world
        self.referee = Referee()
        self.now_s, self.step = 0.0, 0
        ramps, shaping, feedback = load_rules()
        self.ramps = parse_ramps(ramps)
        self.warmups = Warmups(
            self.ramps,
            big_sites=[site.name for site in world.sites if site.name in provider_sites()],
        )
        self.feedback = FeedbackController(parse_feedback_rules(feedback))
        reporting = {site.name for site in world.sites if site.reports}
        self.reputation = StandingController(reports_complaints=reporting.__contains__)
        rules = ShapingPolicies(parse_shaping(shaping, default=SiteLimits(IN_FLIGHT_MAX)))
        self.policies = CombinedPolicies([self.warmups, rules, self.feedback, self.reputation])
        self._retry = RetryPolicy()
        self._egress = [f"egress-{ip}" for ip in range(ips)]
        self._results: list[ObservedResult] = []
        self._usage: dict[LimitScope, Usage] = {}
        self._limits: dict[LimitScope, tuple[Limits, bool]] = {}
        self._ip_scopes = [LimitScope(ScopeKind.WARMUP, egress_id) for egress_id in self._egress]
        self._cell_scopes = [
            [egress_site_scope(egress_id, site.name) for site in world.sites]
            for egress_id in self._egress
        ]
        for egress_id in self._egress:
            self.warmups.apply(warmup.start(egress_id, "", ramp=self.ramps[ramp], now_s=0.0))

    def begin_step(self, step: int) -> None:
        self.step, self.now_s = step, step * STEP_S
        self.warmups.decide(self.now_s)

    def source_room(self, ip: int) -> int:
        return self._room(self._ip_scopes[ip])

    def room(self, cell: Cell) -> int:
        return self._room(self._cell_scopes[cell.ip][cell.site])

    def _room(self, scope: LimitScope) -> int:
        usage = self._usage.get(scope)
        if usage is None:
            usage = self._usage[scope] = Usage()
        usage.advance(self.step)
        suspended = self.policies.suspension_of(scope, self.now_s) is not None
        limits = self.policies.limits_of(scope, self.now_s)
        self._limits[scope] = (limits, suspended)
        return 0 if suspended else usage.room(limits)

    def may_send(self, tenant: int) -> bool:
        """All mail of the simulation is broadcasts."""
        name = str(tenant)
        if self.policies.suspension_of(LimitScope(ScopeKind.TENANT, name), self.now_s):
            return False
        return self.reputation.may_broadcast(name)

    def observe(self, cell: Cell, tenant: int, reply: Reply) -> None:
        for scope in (self._ip_scopes[cell.ip], self._cell_scopes[cell.ip][cell.site]):
            self._usage[scope].add(reply.attempted)
            limits, suspended = self._limits[scope]
            self.referee.count(scope, Sent(self.step, reply.attempted, limits, suspended))
        results = [self._refused(cell, tenant, refusal) for refusal in reply.refusals]
        if reply.delivered:
            results.append(self._result(cell, tenant)._replace(count=reply.delivered))
        self._results += results

    def end_step(self) -> None:
        """As in a tick of the scheduler, all results at once."""
        self.feedback.record(self._results, self.now_s + REPLY_S)
        self.warmups.record(self._results)
        self.reputation.record(self._results)
        self._results = []

    def _result(self, cell: Cell, tenant: int) -> ObservedResult:
        site = self.world.sites[cell.site]
        return ObservedResult(
            str(tenant),
            site.name,
            self._egress[cell.ip],
            site.host,
            self.now_s,
            self.now_s + REPLY_S,
            connected=True,
            outcome=ATTEMPT_OUTCOME_DELIVERED,
        )

    def _refused(self, cell: Cell, tenant: int, refusal: Refusal) -> ObservedResult:
        meaning = classify(refusal.text)
        return self._result(cell, tenant)._replace(
            outcome=meaning.outcome,
            bounce_class=meaning.bounce_class,
            enhanced_code=meaning.enhanced_code,
            reply_text=meaning.text,
            count=refusal.messages,
        )

    def hear_complaints(self, cell: Cell, tenant: int, count: int) -> None:
        egress_id, site = self._egress[cell.ip], self.world.sites[cell.site].name
        self.warmups.record_complaints(egress_id, site, count)
        self.reputation.record_complaints(
            count, self.now_s, tenant_id=str(tenant), egress_id=egress_id
        )

    def count_violations(self, steps: int) -> int:
        return self.referee.violations(steps)

    def retry_s(self, attempts: int) -> float:
        return self._retry.delay_s(attempts, message_id="", attempt=attempts)
