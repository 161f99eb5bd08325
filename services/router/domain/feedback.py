"""The feedback controller: replies of receivers become overrides.

A reply counts only if a host of the site gave it to mail that we sent: what the engine itself
refused, what never connected, and what a stranger's host in the MX set replied, limits nobody.
"""

import re
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY
from mail import bounce
from mail.mx import site_of
from services.router.domain.feedback_rules import FeedbackAction, FeedbackRule, matching_rules
from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import Limits
from services.router.domain.overrides import (
    MEMORY_S,
    Override,
    OverrideApplied,
    OverrideEvent,
    OverrideRemoved,
    Overrides,
    ends_s,
)
from services.router.domain.policies import egress_site_scope
from services.router.domain.reasons import WaitReason
from services.router.domain.results import (
    INVALID_CLASSES,
    REFUSED,
    REPUTATION_CLASSES,
    ObservedResult,
)
from services.router.domain.shaping import provider_sites

REASON_MAX = 200
HOUR_S = 3600.0
HINT_MIN_S, HINT_MAX_S = 60.0, 4 * HOUR_S  # a receiver's hint outside is not heeded to the letter
HINT_RULE = "hint"
SWEEP_S = HOUR_S
_HINT = re.compile(
    r"\b(?:try|retry|come back|wait)\b[^.;\d]{0,40}?(\d{1,5}) ?"
    r"(s|m|h)(?:ec(?:ond)?s?|in(?:ute)?s?|(?:ou)?rs?)?\b"
)
_UNIT_S = {"s": 1, "m": 60, "h": 3600}


def retry_hint_s(text: str) -> float | None:
    """The delay that a reply names, as in "try again in 5 minutes". For one message: see
    `RetryPolicy`; for a source at a site: bounded, as an override."""
    found = _HINT.search(text[: bounce.MAX_TEXT].lower())
    return float(int(found[1]) * _UNIT_S[found[2]]) if found else None


def is_of_site(mx_host: str, site: str) -> bool:
    """Whether a host's replies concern a site. Names without a dot are providers' (or static
    routes', whose hosts are the operator's): no provider's host counts for another site."""
    named = site_of([mx_host]) if mx_host else ""
    if "." in named:
        return "." in site or site not in provider_sites()
    return named == site


def concerns_sender(result: ObservedResult) -> bool:
    """A refusal of a recipient says nothing about the sender."""
    return (
        result.connected
        and result.outcome in REFUSED
        and result.bounce_class not in INVALID_CLASSES
        and bool(result.reply_text)
        and is_of_site(result.mx_host, result.site)
    )


@dataclass(slots=True)
class RuleMatchCounter:
    """Matching replies per rule and scope, within the rule's period."""

    _hits: dict[tuple[str, LimitScope], deque[tuple[float, int]]] = field(default_factory=dict)

    def add(self, rule: FeedbackRule, scope: LimitScope, *, at_s: float, count: int) -> int:
        """The hits within the period, with these."""
        hits = self._hits.setdefault((rule.name, scope), deque(maxlen=rule.threshold))
        hits.append((at_s, count))
        return sum(number for hit_s, number in hits if hit_s > at_s - rule.period_s)

    def reset(self, rule: FeedbackRule, scope: LimitScope) -> None:
        self._hits.pop((rule.name, scope), None)

    def drop_idle(self, now_s: float) -> None:
        """The longest period is a day."""
        self._hits = {k: hits for k, hits in self._hits.items() if hits[-1][0] > now_s - MEMORY_S}


@dataclass(slots=True)
class HourlyAttempts:
    """Attempts of an egress source at a site, in this hour and the one before."""

    hour: int = 0
    current: int = 0
    previous: int = 0

    def add(self, at_s: float, count: int) -> None:
        if (hour := int(at_s // HOUR_S)) > self.hour:
            self.previous = self.current if hour == self.hour + 1 else 0
            self.hour, self.current = hour, 0
        self.current += count


HINT = FeedbackRule(
    HINT_RULE,
    FeedbackAction.SUSPEND_SITE,
    frozenset(),
    frozenset(),
    "",
    1,
    HOUR_S,
    HOUR_S,
    HINT_MAX_S,
)


class FeedbackController:
    """Decides overrides, and is the policy source of those in force."""

    kinds = (ScopeKind.WARMUP, ScopeKind.EGRESS_SITE, ScopeKind.TENANT_SITE, ScopeKind.TENANT)
    reason = WaitReason.OVERRIDE.value

    def __init__(self, rules: Sequence[FeedbackRule], events: Iterable[OverrideEvent] = ()) -> None:
        self._rules = rules
        self._overrides = Overrides(events)
        self._hits = RuleMatchCounter()
        self._rates: dict[LimitScope, HourlyAttempts] = {}
        self._swept_s = 0.0

    def apply(self, event: OverrideEvent) -> None:
        self._overrides.apply(event)

    def record(self, results: Iterable[ObservedResult], now_s: float) -> list[OverrideEvent]:
        """The overrides that follow from results. They are applied already."""
        events: list[OverrideEvent] = []
        for result in results:
            if result.connected:
                self._count(result)
            if concerns_sender(result):
                events += self._react(result, now_s)
        if now_s - self._swept_s > SWEEP_S:
            self._sweep(now_s)
        return events

    def _count(self, result: ObservedResult) -> None:
        scope = egress_site_scope(result.egress_id, result.site)
        self._rates.setdefault(scope, HourlyAttempts()).add(result.answered_s, result.count)

    def _react(self, result: ObservedResult, now_s: float) -> list[OverrideEvent]:
        events: list[OverrideEvent] = []
        for rule in matching_rules(self._rules, result):
            scope = override_scope_of(rule.action, result)
            if self._is_known(scope, rule.action, result):
                continue
            hits = self._hits.add(rule, scope, at_s=result.answered_s, count=result.count)
            if hits >= rule.threshold:
                self._hits.reset(rule, scope)
                events += self._set(rule, scope, result, now_s=now_s)
        return events + self._heed_hint(result, now_s)

    def _is_known(self, scope: LimitScope, action: FeedbackAction, result: ObservedResult) -> bool:
        """Whether the reply is to mail that was assigned before the override began, so that it says
        nothing new."""
        override = self._overrides.get(scope, action)
        return override is not None and result.assigned_s <= override.from_s

    def _set(
        self, rule: FeedbackRule, scope: LimitScope, result: ObservedResult, *, now_s: float
    ) -> list[OverrideEvent]:
        earlier = self._overrides.get(scope, rule.action)
        level = earlier.level + 1 if earlier and is_recent(earlier, result.answered_s) else 0
        duration_s = min(rule.duration_s * 2**level, rule.duration_max_s)
        return self._override(
            rule, scope, result, until_s=result.answered_s + duration_s, level=level, now_s=now_s
        )

    def _heed_hint(self, result: ObservedResult, now_s: float) -> list[OverrideEvent]:
        """A delay that the receiver names to a sender that it limits. To a greylisted message it
        names one too, but for that message alone."""
        hint_s = retry_hint_s(result.reply_text)
        if hint_s is None or result.outcome != ATTEMPT_OUTCOME_TEMPORARY:
            return []
        if result.bounce_class not in REPUTATION_CLASSES:
            return []
        until_s = result.answered_s + min(max(hint_s, HINT_MIN_S), HINT_MAX_S)
        scope = egress_site_scope(result.egress_id, result.site)
        current = self._overrides.get(scope, FeedbackAction.SUSPEND_SITE)
        if current and current.until_s >= until_s:
            return []
        level = current.level if current and is_recent(current, result.answered_s) else 0
        rule = HINT._replace(duration_s=hint_s)
        return self._override(rule, scope, result, until_s=until_s, level=level, now_s=now_s)

    def _override(
        self,
        rule: FeedbackRule,
        scope: LimitScope,
        result: ObservedResult,
        *,
        until_s: float,
        level: int,
        now_s: float,
    ) -> list[OverrideEvent]:
        """A reply that arrives after its override would have ended has no effect."""
        from_s = result.answered_s
        earlier, per_minute = self._overrides.get(scope, rule.action), rule.per_minute
        if earlier and earlier.until_s > from_s:  # the stricter of both
            until_s = max(until_s, earlier.until_s)
            per_minute = min(per_minute, earlier.per_minute)
        if until_s <= now_s:
            return []
        override = Override(
            override_id=f"{rule.name}/{scope.kind}/{scope.id}/{from_s:.0f}",
            scope=scope,
            action=rule.action,
            rule=rule.name,
            reason=bounce.normalize_diagnostic(result.reply_text)[:REASON_MAX],
            from_s=from_s,
            until_s=until_s,
            ends_s=ends_s(rule.action, from_s, until_s),
            per_minute=per_minute,
            per_hour=self._rate_before(scope, earlier),
            level=level,
        )
        event = OverrideApplied(override)
        self.apply(event)
        return [event]

    def _rate_before(self, scope: LimitScope, earlier: Override | None) -> int:
        """The rate before the trouble, not that of the canary."""
        rate = self._rates.get(scope, HourlyAttempts())
        recent = max(rate.current, rate.previous)
        return max(recent, earlier.per_hour if earlier else 0)

    def rate_of_source(self, egress_id: str) -> int:
        """Attempts per hour of an egress source, at all sites."""
        prefix = f"{egress_id}/"
        rates = [one for scope, one in self._rates.items() if scope.id.startswith(prefix)]
        return max(sum(one.current for one in rates), sum(one.previous for one in rates))

    def remove(self, override_id: str, *, removed_by: str, now_s: float) -> OverrideRemoved:
        """Raises KeyError for an override that is not in force."""
        found = {one.override_id: one for one in self.overrides(now_s)}
        event = OverrideRemoved(found[override_id], now_s, removed_by)
        self.apply(event)
        return event

    def scope_of(self, override_id: str) -> str:
        """The key of the scope of an override; empty if it is not known."""
        named = (one.scope.key for one in self._overrides if one.override_id == override_id)
        return next(named, "")

    def forget_tenants(self, tenant_ids: Collection[str]) -> None:
        of_tenants = (ScopeKind.TENANT, ScopeKind.TENANT_SITE)
        self._overrides.forget(
            lambda one: one.kind in of_tenants and one.id.partition("/")[0] in tenant_ids
        )

    def overrides(self, now_s: float) -> list[Override]:
        return self._overrides.active(now_s)

    def _sweep(self, now_s: float) -> None:
        self._swept_s = now_s
        self._overrides.drop_ended(now_s)
        self._hits.drop_idle(now_s)
        hour = int(now_s // HOUR_S)
        self._rates = {scope: r for scope, r in self._rates.items() if r.hour >= hour - 1}

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits:
        return self._overrides.limits_of(scope, now_s)

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
        return self._overrides.suspension_of(scope, now_s)


def is_recent(override: Override, at_s: float) -> bool:
    return at_s < override.ends_s + MEMORY_S


def override_scope_of(action: FeedbackAction, result: ObservedResult) -> LimitScope:
    if action is FeedbackAction.SUSPEND_TENANT_SITE:
        return LimitScope(ScopeKind.TENANT_SITE, f"{result.tenant_id}/{result.site}")
    if action is FeedbackAction.SUSPEND_EGRESS:
        return LimitScope(ScopeKind.WARMUP, result.egress_id)
    if action is FeedbackAction.PAUSE_TENANT:
        return LimitScope(ScopeKind.TENANT, result.tenant_id)
    return egress_site_scope(result.egress_id, result.site)
