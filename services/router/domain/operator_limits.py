"""Limits and weights that operators have set. They hold until the next change."""

from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits

WITHOUT_LIMITS = (ScopeKind.CAMPAIGN, ScopeKind.BROADCASTS, ScopeKind.POOL_SITE)
LIMIT_MAX = 1_000_000_000
PER_SECOND_MAX = 100_000
WEIGHT_MAX = 100
NAME_MAX = 100


class LimitsChanged(NamedTuple):
    """weight: of a tenant; 0: the default, which is 1. Without limits and weight, nothing is set
    any more."""

    scope: LimitScope
    limits: Limits
    at_s: float
    changed_by: str = ""
    weight: int = 0

    @property
    def is_removal(self) -> bool:
        return not any(self.limits[:5]) and not self.weight

    def check(self) -> None:
        """Raises ValueError with what is wrong."""
        self.scope.check()
        if self.scope.kind in WITHOUT_LIMITS:
            raise ValueError(f"a scope of kind {self.scope.kind} has no limits of its own.")
        if self.weight and self.scope.kind is not ScopeKind.TENANT:
            raise ValueError("only a tenant has a weight.")
        if self.weight > WEIGHT_MAX:
            raise ValueError(f"the weight must not exceed {WEIGHT_MAX}.")
        if max(self.limits[:5]) > LIMIT_MAX or self.limits.per_second > PER_SECOND_MAX:
            raise ValueError(
                f"a limit must not exceed {LIMIT_MAX:,}, or {PER_SECOND_MAX:,} a second. "
                "Leave it out to have none."
            )
        if len(self.changed_by) > NAME_MAX:
            raise ValueError(f"the name of the operator must not exceed {NAME_MAX} characters.")
        if self.limits.day_zone and not is_time_zone(self.limits.day_zone):
            raise ValueError("the time zone is unknown. Use a name such as Europe/Berlin.")


class OperatorLimits:
    """The latest change of each scope, and the policy source of them."""

    kinds = tuple(kind for kind in ScopeKind if kind not in WITHOUT_LIMITS)
    reason = ""

    def __init__(self) -> None:
        self._changes: dict[LimitScope, LimitsChanged] = {}
        self.limited_keys: frozenset[str] = frozenset()
        self.limited_mailboxes: frozenset[str] = frozenset()

    def apply(self, event: LimitsChanged) -> None:
        """A time zone that this installation no longer knows becomes UTC."""
        if event.limits.day_zone and not is_time_zone(event.limits.day_zone):
            known = event.limits._replace(hour_zone="UTC", day_zone="UTC")
            event = event._replace(limits=known)
        if event.is_removal:
            self._changes.pop(event.scope, None)
        else:
            self._changes[event.scope] = event
        if event.scope.kind is ScopeKind.API_KEY:
            self.limited_keys = self._ids_of(ScopeKind.API_KEY)
        if event.scope.kind is ScopeKind.MAILBOX:
            self.limited_mailboxes = self._ids_of(ScopeKind.MAILBOX)

    @property
    def limited(self) -> tuple[frozenset[str], frozenset[str]]:
        """The API keys and the mailboxes with limits."""
        return self.limited_keys, self.limited_mailboxes

    def _ids_of(self, kind: ScopeKind) -> frozenset[str]:
        return frozenset(scope.id for scope in self._changes if scope.kind is kind)

    def changes(self) -> list[LimitsChanged]:
        return sorted(self._changes.values())

    def latest(self, scope: LimitScope | None) -> LimitsChanged | None:
        """The change in force."""
        return self._changes.get(scope) if scope else None

    def weight_of(self, tenant_id: str) -> int:
        if not self._changes:
            return 1
        change = self._changes.get(LimitScope(ScopeKind.TENANT, tenant_id))
        return change.weight or 1 if change else 1

    def set_by(self, scope: LimitScope, limit: str, maximum: int) -> str:
        """The operator who has set the limit that decides; empty if it is another one."""
        change = self._changes.get(scope)
        is_theirs = change is not None and getattr(change.limits, limit) == maximum
        return change.changed_by if change is not None and is_theirs else ""

    def limits_of(self, scope: LimitScope, _: float) -> Limits:
        change = self._changes.get(scope)
        return change.limits if change else NO_LIMITS

    def suspension_of(self, _: LimitScope, __: float) -> Suspension | None:
        """Overrides suspend, and end by themselves."""
        return None


@lru_cache(maxsize=1000)
def is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return False
    return True
