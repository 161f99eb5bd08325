"""Limits of the scopes: those of tenants, and shaping rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.router.domain.ledger import Policies, Scope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.reasons import WaitReason
from services.router.domain.shaping import Shaping

UNKNOWN_TENANT_RETRY_S = 0.2  # a message can arrive before the record of its tenant
DEFAULT_POOL = "00000000-0000-7000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class TenantRouting:
    """The fields of a tenant that routing uses."""

    limits: Limits = NO_LIMITS
    pool_id: str = DEFAULT_POOL


@dataclass(frozen=True, slots=True)
class TenantPolicies:
    """routing_of: the routing of a tenant by id; None until its record has arrived."""

    routing_of: Callable[[str], TenantRouting | None]

    def limits_of(self, scope: Scope, _: float) -> Limits:
        if scope.kind is not ScopeKind.TENANT:
            return NO_LIMITS
        routing = self.routing_of(scope.scope_id)
        return routing.limits if routing else NO_LIMITS

    def suspension_of(self, scope: Scope, now_s: float) -> Suspension | None:
        if scope.kind is ScopeKind.TENANT and self.routing_of(scope.scope_id) is None:
            return Suspension(now_s + UNKNOWN_TENANT_RETRY_S, WaitReason.TENANT_UNKNOWN)
        return None


@dataclass(frozen=True, slots=True)
class ShapingPolicies:
    """The rules of shaping.toml."""

    shaping: Shaping

    def limits_of(self, scope: Scope, _: float) -> Limits:
        if scope.kind is not ScopeKind.EGRESS_SITE:
            return NO_LIMITS
        site_limits = self.shaping.of(site_of(scope))
        return Limits(
            per_second=site_limits.per_second_max, in_flight_max=site_limits.in_flight_max
        )

    def suspension_of(self, _: Scope, __: float) -> Suspension | None:
        return None


@dataclass(frozen=True, slots=True)
class CombinedPolicies:
    """Several sources of limits together: the least of each limit, and the longest suspension."""

    sources: Sequence[Policies]

    def limits_of(self, scope: Scope, now_s: float) -> Limits:
        combined = NO_LIMITS
        for source in self.sources:
            if (limits := source.limits_of(scope, now_s)) != NO_LIMITS:
                combined = limits if combined == NO_LIMITS else least(combined, limits)
        return combined

    def suspension_of(self, scope: Scope, now_s: float) -> Suspension | None:
        found = (source.suspension_of(scope, now_s) for source in self.sources)
        return max((one for one in found if one), default=None, key=lambda one: one.until_s)


def least(first: Limits, second: Limits) -> Limits:
    """The least of each limit, where 0 is no limit. Windows are fixed only if both agree."""
    values = [min(pair) if all(pair) else max(pair) for pair in zip(first, second, strict=True)]
    is_fixed = first.fixed_windows and first[5:] == second[5:]
    offset_s = first.utc_offset_s if is_fixed else 0
    return Limits._make(values)._replace(fixed_windows=is_fixed, utc_offset_s=offset_s)


def egress_site(egress_id: str, site: str, tenant_id: str = "") -> Scope:
    """tenant_id: of test mail only, so that no tenant can use up the sandbox."""
    parts = (egress_id, site, tenant_id)
    return Scope(ScopeKind.EGRESS_SITE, "/".join(part for part in parts if part))


def site_of(egress_site: Scope) -> str:
    return egress_site.scope_id.split("/")[1]
