"""Limits of the scopes: those of tenants, and shaping rules."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from contracts.ingest.v1.directory_pb2 import (
    REPUTATION_POLICY_NONE,
    REPUTATION_POLICY_STANDARD,
    REPUTATION_POLICY_STRICT,
    Mailbox,
    Tenant,
)
from services.router.domain.cells import DIVIDED, CellShare
from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.reasons import WaitReason
from services.router.domain.shaping import ShapingRules
from services.router.domain.standings import ReputationPolicy

UNKNOWN_TENANT_RETRY_S = 0.2  # a message can arrive before the record of its tenant
DEFAULT_POOL = "00000000-0000-7000-8000-000000000001"

REPUTATION_POLICIES = {
    REPUTATION_POLICY_NONE: ReputationPolicy.NONE,
    REPUTATION_POLICY_STANDARD: ReputationPolicy.STANDARD,
    REPUTATION_POLICY_STRICT: ReputationPolicy.STRICT,
}


@dataclass(frozen=True, slots=True)
class TenantRouting:
    """The fields of a tenant that routing uses."""

    limits: Limits = NO_LIMITS
    pool_id: str = DEFAULT_POOL


class TenantTable(Protocol):
    """The directory of tenants, as far as it has arrived."""

    def get(self, entry_id: str) -> Tenant | None: ...

    def was_deleted(self, entry_id: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class TenantDirectory:
    """The routing of tenants, from their records."""

    tenants: TenantTable

    def routing_of(self, tenant_id: str) -> TenantRouting | None:
        """None until the tenant's record has arrived. A deleted tenant has no limits."""
        tenant = self.tenants.get(tenant_id)
        if tenant is None:
            return TenantRouting() if self.tenants.was_deleted(tenant_id) else None
        limits = Limits(
            per_second=tenant.per_second_max,
            per_hour=tenant.per_hour_max,
            per_day=tenant.per_day_max,
        )
        return TenantRouting(limits, tenant.pool_id or DEFAULT_POOL)

    def reputation_policy_of(self, tenant_id: str) -> ReputationPolicy | None:
        """None: that of the engine."""
        tenant = self.tenants.get(tenant_id)
        return REPUTATION_POLICIES.get(tenant.reputation_policy) if tenant else None

    def pool_of(self, tenant_id: str) -> str:
        routing = self.routing_of(tenant_id)
        return routing.pool_id if routing else DEFAULT_POOL

    def account_of(self, tenant_id: str) -> str:
        """Empty without a record, and for a deleted tenant."""
        tenant = self.tenants.get(tenant_id)
        return tenant.account_id if tenant else ""


class MailboxTable(Protocol):
    """The directory of mailboxes, as far as it has arrived."""

    def get(self, entry_id: str, /) -> Mailbox | None: ...


class PolicySource(Protocol):
    """kinds: of the scopes that it limits or suspends; it is not consulted about others. reason:
    why messages wait for one of its limits; empty: the limit itself."""

    @property
    def kinds(self) -> Collection[ScopeKind]: ...

    @property
    def reason(self) -> str: ...

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits: ...

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None: ...


@dataclass(frozen=True, slots=True)
class TenantPolicies:
    """routing_of: the routing of a tenant by id; None until its record has arrived."""

    routing_of: Callable[[str], TenantRouting | None]
    kinds: Collection[ScopeKind] = (ScopeKind.TENANT,)
    reason: str = ""

    def limits_of(self, scope: LimitScope, _: float) -> Limits:
        routing = self.routing_of(scope.id)
        return routing.limits if routing else NO_LIMITS

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
        if self.routing_of(scope.id) is None:
            return Suspension(now_s + UNKNOWN_TENANT_RETRY_S, WaitReason.TENANT_UNKNOWN)
        return None


@dataclass(frozen=True, slots=True)
class MailboxPolicies:
    """The limits that tenants have set for their mailboxes."""

    mailboxes: MailboxTable
    kinds: Collection[ScopeKind] = (ScopeKind.MAILBOX,)
    reason: str = ""

    def limits_of(self, scope: LimitScope, _: float) -> Limits:
        return self._limits(scope.id)

    def suspension_of(self, _: LimitScope, __: float) -> Suspension | None:
        return None

    def is_limited(self, mailbox_id: str) -> bool:
        return self._limits(mailbox_id) != NO_LIMITS

    def _limits(self, mailbox_id: str) -> Limits:
        """Without a record, or of a mailbox that is deleted: no limits."""
        if (mailbox := self.mailboxes.get(mailbox_id)) is None:
            return NO_LIMITS
        return Limits(
            per_second=mailbox.per_second_max,
            per_hour=mailbox.per_hour_max,
            per_day=mailbox.per_day_max,
        )


@dataclass(frozen=True, slots=True)
class ShapingPolicies:
    """The rules of shaping.toml."""

    shaping: ShapingRules
    kinds: Collection[ScopeKind] = (ScopeKind.EGRESS_SITE,)
    reason: str = ""

    def limits_of(self, scope: LimitScope, _: float) -> Limits:
        return self.shaping.of(site_of(scope)).limits()

    def suspension_of(self, _: LimitScope, __: float) -> Suspension | None:
        return None


def configured_policies(
    directory: TenantDirectory, shaping: ShapingRules, mailboxes: MailboxPolicies
) -> tuple[PolicySource, ...]:
    """Those that do not adapt."""
    return TenantPolicies(directory.routing_of), ShapingPolicies(shaping), mailboxes


class CombinedPolicies:
    """Several sources of limits together: the least of each limit, and the longest suspension.
    share: of the cell, in limits of all cells."""

    def __init__(self, sources: Iterable[PolicySource], share: CellShare | None = None) -> None:
        self._share = share or CellShare()
        self._by_kind: dict[ScopeKind, list[PolicySource]] = {kind: [] for kind in ScopeKind}
        for source in sources:
            for kind in source.kinds:
                self._by_kind[kind].append(source)

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits:
        combined = self._limits_of(scope, now_s)
        return self._share.of_limits(combined) if scope.kind in DIVIDED else combined

    def _limits_of(self, scope: LimitScope, now_s: float) -> Limits:
        combined = NO_LIMITS
        for source in self._by_kind[scope.kind]:
            limits = source.limits_of(scope, now_s)
            combined = limits if combined == NO_LIMITS else least_limits(combined, limits)
        return combined

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
        longest: Suspension | None = None
        if scope.kind in DIVIDED and self._share.has_none(self._limits_of(scope, now_s)):
            return Suspension(inf)
        for source in self._by_kind[scope.kind]:
            found = source.suspension_of(scope, now_s)
            if found and (longest is None or found.until_s > longest.until_s):
                longest = found
        return longest

    def reason_of(self, scope: LimitScope, limited_by: str, now_s: float) -> str:
        field = "in_flight_max" if limited_by == WaitReason.IN_FLIGHT else limited_by
        deciding = getattr(self._limits_of(scope, now_s), field)
        for source in self._by_kind[scope.kind]:
            if source.reason and getattr(source.limits_of(scope, now_s), field) == deciding:
                return source.reason
        return limited_by


def least_limits(first: Limits, second: Limits) -> Limits:
    """The least of each limit, where 0 is no limit. A window that both limit, in different time
    zones, is rolling: no fixed one then has more."""
    if second == NO_LIMITS:
        return first
    return Limits(
        least_limit(first.per_second, second.per_second),
        least_limit(first.per_minute, second.per_minute),
        least_limit(first.per_hour, second.per_hour),
        least_limit(first.per_day, second.per_day),
        least_limit(first.in_flight_max, second.in_flight_max),
        common_zone((first.per_hour, first.hour_zone), (second.per_hour, second.hour_zone)),
        common_zone((first.per_day, first.day_zone), (second.per_day, second.day_zone)),
        least_limit(first.allowance, second.allowance),
    )


def least_limit(first: int, second: int) -> int:
    return min(first, second) if first and second else first or second


def common_zone(first: tuple[int, str], second: tuple[int, str]) -> str:
    """Of a window, by the limit and the zone of each."""
    zones = {zone for limit, zone in (first, second) if limit}
    return zones.pop() if len(zones) == 1 else ""


def egress_site_scope(egress_id: str, site: str, tenant_id: str = "") -> LimitScope:
    """tenant_id: of test mail only, so that no tenant can use up the sandbox."""
    parts = (egress_id, site, tenant_id)
    return LimitScope(ScopeKind.EGRESS_SITE, "/".join(part for part in parts if part))


def site_of(egress_site: LimitScope) -> str:
    return egress_site.id.split("/")[1]
