"""Overrides: limits and suspensions that the feedback controller sets for a time.

After a suspension or a lower rate, the earlier rate is restored in steps; the first is a canary
share of the rate before. An override ends by itself: nothing has to remove it.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from math import ceil
from typing import NamedTuple

from services.router.domain.feedback_rules import FeedbackAction
from services.router.domain.ledger import LimitScope, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.policies import least_limits
from services.router.domain.reasons import WaitReason

RESTORE_SHARES = (0.05, 0.2, 0.5)  # of the rate before, one after another
RESTORE_STEP_MIN_S = 900.0
RESTORE_STEP_MAX_S = 7200.0
MEMORY_S = 86_400.0  # an override that comes again within this time lasts twice as long
LASTS_MAX_S = 31 * 86_400.0  # if an operator sets it
NAME_MAX = 1_000
TEXT_MAX = 200
SUSPENDS = frozenset(
    (
        *(FeedbackAction.SUSPEND_SITE, FeedbackAction.SUSPEND_EGRESS),
        *(FeedbackAction.SUSPEND_TENANT_SITE, FeedbackAction.PAUSE_TENANT),
    )
)


class Override(NamedTuple):
    """until_s: when the action ends. ends_s: when the earlier rate is restored. per_hour: the rate
    before. level: how often it has come again."""

    override_id: str
    scope: LimitScope
    action: FeedbackAction
    rule: str
    reason: str
    from_s: float
    until_s: float
    ends_s: float
    per_minute: int = 0
    per_hour: int = 0
    level: int = 0

    def check(self) -> None:
        """For an override that an operator sets. Raises ValueError with what is wrong."""
        self.scope.check()
        if not self.from_s < self.until_s <= self.ends_s <= self.from_s + LASTS_MAX_S:
            raise ValueError("the override must end within 31 days, and not before it begins.")
        if not 0 < len(self.override_id) <= NAME_MAX:
            raise ValueError(f"the id must have 1 to {NAME_MAX} characters.")
        if len(self.reason) > TEXT_MAX:
            raise ValueError(f"the reason must not exceed {TEXT_MAX} characters.")

    def limits(self, now_s: float) -> Limits:
        if not self.from_s <= now_s < self.ends_s:
            return NO_LIMITS
        if now_s >= self.until_s:
            return Limits(per_minute=self.restored_per_minute(now_s))
        if self.action is FeedbackAction.SLOW_DOWN:
            return Limits(per_minute=self.per_minute)
        return (
            Limits(in_flight_max=1) if self.action is FeedbackAction.ONE_CONNECTION else NO_LIMITS
        )

    def restored_per_minute(self, now_s: float) -> int:
        step_s = (self.ends_s - self.until_s) / len(RESTORE_SHARES)
        step = min(int((now_s - self.until_s) / step_s), len(RESTORE_SHARES) - 1)
        return max(ceil(self.per_hour * RESTORE_SHARES[step] / 60), self.per_minute, 1)

    def suspension(self, now_s: float) -> Suspension | None:
        if self.action in SUSPENDS and self.from_s <= now_s < self.until_s:
            return Suspension(self.until_s, WaitReason.OVERRIDE)
        return None


class OverrideApplied(NamedTuple):
    override: Override


class OverrideRemoved(NamedTuple):
    override: Override
    at_s: float
    removed_by: str


OverrideEvent = OverrideApplied | OverrideRemoved


def ends_s(action: FeedbackAction, from_s: float, until_s: float) -> float:
    if action in (
        FeedbackAction.ONE_CONNECTION,
        FeedbackAction.SUSPEND_EGRESS,
        FeedbackAction.PAUSE_TENANT,
    ):
        return until_s
    return restored_s(from_s, until_s)


def restored_s(from_s: float, until_s: float) -> float:
    """When the earlier rate is restored after a suspension."""
    step_s = min(max((until_s - from_s) / 4, RESTORE_STEP_MIN_S), RESTORE_STEP_MAX_S)
    return until_s + len(RESTORE_SHARES) * step_s


class Overrides:
    """The fold of override events: at most one override per scope and action.

    Ended ones are kept for MEMORY_S, and forgotten by `drop_ended`.
    """

    def __init__(self, events: Iterable[OverrideEvent] = ()) -> None:
        self._by_scope: dict[LimitScope, dict[FeedbackAction, Override]] = {}
        for event in events:
            self.apply(event)

    def apply(self, event: OverrideEvent) -> None:
        if isinstance(event, OverrideApplied):
            override = event.override
            self._by_scope.setdefault(override.scope, {})[override.action] = override
            return
        overrides = self._by_scope.get(event.override.scope, {})
        if overrides.pop(event.override.action, None) and not overrides:
            del self._by_scope[event.override.scope]

    def get(self, scope: LimitScope, action: FeedbackAction) -> Override | None:
        return self._by_scope.get(scope, {}).get(action)

    def active(self, now_s: float) -> list[Override]:
        """For an operator, the one that ends first comes first."""
        return sorted((o for o in self if o.from_s <= now_s < o.ends_s), key=lambda o: o.ends_s)

    def __iter__(self) -> Iterator[Override]:
        return (one for overrides in self._by_scope.values() for one in overrides.values())

    def forget(self, is_forgotten: Callable[[LimitScope], bool]) -> None:
        kept = {one: found for one, found in self._by_scope.items() if not is_forgotten(one)}
        self._by_scope = kept

    def drop_ended(self, now_s: float) -> None:
        for scope, overrides in list(self._by_scope.items()):
            kept = {a: o for a, o in overrides.items() if now_s < o.ends_s + MEMORY_S}
            if kept:
                self._by_scope[scope] = kept
            else:
                del self._by_scope[scope]

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits:
        overrides = self._by_scope.get(scope)
        if not overrides:
            return NO_LIMITS
        return reduce(least_limits, (one.limits(now_s) for one in overrides.values()), NO_LIMITS)

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
        overrides = self._by_scope.get(scope)
        if not overrides:
            return None
        found = (override.suspension(now_s) for override in overrides.values())
        return max((each for each in found if each), key=lambda each: each.until_s, default=None)
