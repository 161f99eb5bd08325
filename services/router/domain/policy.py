"""The words that all decisions about sending share: limit scopes, their limits, and the results of
attempts. Whatever limits or suspends a scope is a limit source; the strictest of them decides."""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import NamedTuple, Protocol


class ScopeKind(StrEnum):
    API_KEY = "api_key"
    MAILBOX = "mailbox"
    TENANT = "tenant"
    TENANT_SITE = "tenant_site"  # id: tenant/site
    POOL = "pool"
    WARMUP = "warmup"  # id: egress
    EGRESS_SITE = "egress_site"  # id: egress/site
    SITE = "site"
    ENGINE = "engine"


class Scope(NamedTuple):
    kind: ScopeKind
    id: str


def egress_scope(egress_id: str) -> Scope:
    return Scope(ScopeKind.WARMUP, egress_id)


def egress_site_scope(egress_id: str, site: str) -> Scope:
    return Scope(ScopeKind.EGRESS_SITE, f"{egress_id}/{site}")


def site_of_scope(egress_site: Scope) -> str:
    return egress_site.id.split("/")[1]


def tenant_scope(tenant_id: str) -> Scope:
    return Scope(ScopeKind.TENANT, tenant_id)


def tenant_site_scope(tenant_id: str, site: str) -> Scope:
    return Scope(ScopeKind.TENANT_SITE, f"{tenant_id}/{site}")


class Limits(NamedTuple):
    """Messages per time, and assignments without an attempt result; 0: no limit."""

    per_second: int = 0
    per_minute: int = 0
    per_hour: int = 0
    per_day: int = 0
    in_flight_max: int = 0


NO_LIMITS = Limits()


def strictest(limits: Iterable[Limits]) -> Limits:
    """The smallest limit of each kind."""
    found = NO_LIMITS
    for each in limits:
        if found is NO_LIMITS:
            found = each
        elif each is not NO_LIMITS:
            pairs = zip(found, each, strict=True)
            found = Limits(*[min(a, b) if a and b else a or b for a, b in pairs])
    return found


class Suspension(NamedTuple):
    """until_s: infinite if somebody has to end it."""

    until_s: float
    reason: str


class LimitSource(Protocol):
    """kinds: of the scopes that it limits or suspends; it is not consulted about others."""

    @property
    def kinds(self) -> Collection[ScopeKind]: ...

    def limits_of(self, scope: Scope, now_s: float) -> Limits: ...

    def suspension_of(self, scope: Scope, now_s: float) -> Suspension | None: ...


class LimitSources:
    """Several limit sources as one."""

    def __init__(self, *sources: LimitSource) -> None:
        self._by_kind: dict[ScopeKind, list[LimitSource]] = {
            kind: [source for source in sources if kind in source.kinds] for kind in ScopeKind
        }

    def limits_of(self, scope: Scope, now_s: float) -> Limits:
        return strictest([s.limits_of(scope, now_s) for s in self._by_kind[scope.kind]])

    def suspension_of(self, scope: Scope, now_s: float) -> Suspension | None:
        """The suspension that ends last."""
        found = [s.suspension_of(scope, now_s) for s in self._by_kind[scope.kind]]
        return max((each for each in found if each), key=lambda each: each.until_s, default=None)


DELIVERED, PERMANENT, TEMPORARY = "delivered", "permanent", "temporary"
REPUTATION_CLASSES = frozenset(
    ("spam_block", "rate_limited")
)  # refusals of the sender, not of mail
INVALID_CLASSES = frozenset(("invalid_recipient", "inactive_mailbox", "bad_domain"))


class AttemptResult(NamedTuple):
    """Equal results of `count` attempts. outcome: delivered, permanent, temporary, stale or
    ambiguous. mx_host: the host that replied. enhanced_code: as "4.7.28", or ""."""

    tenant_id: str
    site: str
    egress_id: str
    mx_host: str
    assigned_s: float
    answered_s: float
    connected: bool
    outcome: str
    bounce_class: str = ""
    enhanced_code: str = ""
    reply_text: str = ""
    count: int = 1  # type: ignore[assignment] # the method of tuples

    @property
    def is_refused_for_reputation(self) -> bool:
        return self.outcome in (PERMANENT, TEMPORARY) and self.bounce_class in REPUTATION_CLASSES
