"""The ledger: what every limit scope has used and reserved. Pure; the state is mutable."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple, Protocol

from services.router.domain.counters import ChangedCounters, CounterRow
from services.router.domain.limits import (
    ALLOWANCE,
    DAY,
    HOUR,
    MICROS_PER_S,
    MINUTE,
    NO_LIMITS,
    RATES,
    SECOND,
    UNLIMITED,
    WINDOWS,
    Capacity,
    GcraLimiter,
    Limits,
    WindowCounter,
    tightest_capacity,
)
from services.router.domain.reasons import WaitReason

USAGES_MIN = 10_000  # with fewer scopes, idle ones are not dropped
SWEPT_MAX = 20  # scopes that are checked at a time: a tick must not wait for all of them
LIMITS = ("per_second", "per_minute", "per_hour", "per_day", "in_flight_max", "allowance")


class ScopeKind(StrEnum):
    """What a limit counts, from small to large.

    campaign: near-identical mail of a tenant, if there is much. api_key, mailbox: of a tenant,
    while it has limits of its own. tenant_site: a tenant at a site.
    broadcasts: not a limit, but the bulk mail of a tenant, which a pause stops first. warmup: an
    egress source at all sites. egress_site: one at a site. pool_site: not a limit, but the choice
    among the sources of a pool at a site; it has capacity when any of them has.
    """

    CAMPAIGN = "campaign"
    API_KEY = "api_key"
    MAILBOX = "mailbox"
    TENANT_SITE = "tenant_site"
    TENANT = "tenant"
    BROADCASTS = "broadcasts"
    POOL = "pool"
    POOL_SITE = "pool_site"
    WARMUP = "warmup"
    EGRESS_SITE = "egress_site"
    SITE = "site"
    ENGINE = "engine"


class LimitScope(NamedTuple):
    kind: ScopeKind
    id: str

    @property
    def key(self) -> str:
        """As stored in rows."""
        return f"{self.kind}/{self.id}"

    @classmethod
    def of(cls, key: str) -> "LimitScope | None":
        """None for a kind that this version does not know."""
        name, _, rest = key.partition("/")
        kind = KINDS.get(name)
        return cls(kind, rest) if kind else None

    def check(self) -> None:
        """For scopes that somebody names. Raises ValueError if no scope has such an id: it would
        limit nothing, and no index takes a key of any length."""
        parts = self.id.split("/")
        valid = all(part.isprintable() and part and len(part) <= PART_MAX for part in parts)
        valid = not self.id if self.kind is ScopeKind.ENGINE else valid
        if not valid or " " in self.id or len(parts) != PARTS.get(self.kind, 1):
            raise ValueError(f"there is no {self.kind} {self.id[:80]!r}.")


KINDS = {kind.value: kind for kind in ScopeKind}
PARTS = {ScopeKind.TENANT_SITE: 2, ScopeKind.EGRESS_SITE: 2}  # of the id, if more than one
PART_MAX = 255
PERIODS = (HOUR.name, DAY.name)
COUNTED_WITHOUT_LIMIT = frozenset((ScopeKind.TENANT,))  # because one may be set later
# The counters of scopes that a tenant has to itself. There may be millions, and few of them matter
# at a time.
LOADED_ON_DEMAND = frozenset(
    (
        *(ScopeKind.CAMPAIGN, ScopeKind.API_KEY, ScopeKind.MAILBOX),
        *(ScopeKind.TENANT_SITE, ScopeKind.TENANT, ScopeKind.BROADCASTS),
    )
)
# A tenant may move to another pool while its messages are in flight.
WITHOUT_IN_FLIGHT = frozenset((ScopeKind.POOL, ScopeKind.POOL_SITE))
Path = Sequence[LimitScope]


class Suspension(NamedTuple):
    """until_s: inf if only a change ends it."""

    until_s: float
    reason: WaitReason = WaitReason.SUSPENDED


class LimitUsage(NamedTuple):
    """limit: a field of Limits. reason: of the source that sets it, or the limit's own name."""

    scope: LimitScope
    limit: str
    maximum: int
    capacity: Capacity
    reason: str


class LimitPolicies(Protocol):
    """Where limits come from: tenants, shaping rules, warmup, overrides, reputation."""

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits: ...

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None: ...

    def reason_of(self, scope: LimitScope, limited_by: str, now_s: float) -> str:
        """Why a limit is as low as it is; its own name if nobody has lowered it."""
        ...


@dataclass(slots=True)
class ScopeUsage:
    """The usage of one scope."""

    in_flight: int = 0
    rates: dict[str, GcraLimiter] = field(default_factory=dict)
    windows: dict[str, WindowCounter] = field(default_factory=dict)

    def rate(self, name: str) -> GcraLimiter:
        if (limiter := self.rates.get(name)) is None:
            limiter = self.rates[name] = GcraLimiter(RATES[name])
        return limiter

    def window(self, name: str) -> WindowCounter:
        if (counter := self.windows.get(name)) is None:
            counter = self.windows[name] = WindowCounter(WINDOWS[name])
        return counter

    def capacity(self, limits: Limits, *, now_s: float) -> Capacity:
        capacities = [UNLIMITED]
        for rate, limit in rate_limits(limits):
            capacities.append(self.rate(rate).capacity(limit, now_s=now_s))
        for window, limit in window_limits(limits):
            capacities.append(self.window(window).capacity(limit, limits, now_s=now_s))
        if limits.in_flight_max:
            free = max(limits.in_flight_max - self.in_flight, 0)
            capacities.append(Capacity(free, inf, WaitReason.IN_FLIGHT.value))
        return tightest_capacity(*capacities)

    def is_idle(self, now_s: float) -> bool:
        """Whether dropping it changes nothing."""
        busy = any(limiter.tat_us > now_s * MICROS_PER_S for limiter in self.rates.values())
        counts = [counter for counter in self.windows.values() if not counter.drop_expired(now_s)]
        return not (self.in_flight or busy or counts)


def rate_limits(limits: Limits) -> Iterable[tuple[str, int]]:
    if limits.per_second:
        yield SECOND.name, limits.per_second
    if limits.per_minute:
        yield MINUTE.name, limits.per_minute


def window_limits(limits: Limits) -> Iterable[tuple[str, int]]:
    if limits.per_hour:
        yield HOUR.name, limits.per_hour
    if limits.per_day:
        yield DAY.name, limits.per_day
    if limits.allowance:
        yield ALLOWANCE.name, limits.allowance


class Ledger:
    """Books messages against all scopes of a path at once."""

    def __init__(self, policies: LimitPolicies) -> None:
        self._policies = policies
        self._usages: dict[LimitScope, ScopeUsage] = {}
        self._changed = ChangedCounters()
        self._usages_max = USAGES_MIN  # before idle ones are dropped
        self._unswept: list[LimitScope] = []
        self._loaded: set[LimitScope] = set()  # of those that are loaded on demand
        self._known_at_s = -inf  # the moment of the cached policies
        self._known: dict[LimitScope, tuple[Limits, Suspension | None]] = {}

    def __len__(self) -> int:
        return len(self._usages)

    def unloaded(self, scopes: Iterable[LimitScope]) -> list[LimitScope]:
        """The scopes whose counters must be loaded before they are used."""
        return [
            scope
            for scope in dict.fromkeys(scopes)
            if scope.kind in LOADED_ON_DEMAND and scope not in self._loaded
        ]

    def load(self, rows: Iterable[CounterRow], scopes: Iterable[LimitScope] = ()) -> None:
        """rows: those of a scope one after another. scopes: unloaded ones, of which these are all
        rows."""
        self._loaded.update(scopes)
        key, used = "", ScopeUsage()
        for row in rows:
            if row.scope != key:
                key, scope = row.scope, LimitScope.of(row.scope)
                used = self._usage_of(scope) if scope else ScopeUsage()
            name, _, bucket = row.window_key.partition("/")
            if name in WINDOWS:
                used.window(name).buckets[int(bucket)] = row.value
            elif name in RATES:
                used.rate(name).tat_us = row.value
        self._usages_max = max(USAGES_MIN, 2 * len(self._usages))

    def load_in_flight(self, path: Path, count: int) -> None:
        for scope in path:
            if scope.kind not in WITHOUT_IN_FLIGHT:
                self._usage_of(scope).in_flight += count

    def track(self, scope: LimitScope) -> None:
        """List the usage of a scope that has used nothing."""
        self._usage_of(scope)

    def in_flight(self, scope: LimitScope) -> int:
        used = self._usages.get(scope)
        return used.in_flight if used else 0

    def limits_of(self, scope: LimitScope, *, now_s: float) -> Limits:
        return self._policy(scope, now_s)[0]

    def capacity(self, scope: LimitScope, *, now_s: float) -> Capacity:
        limits, suspension = self._policy(scope, now_s)
        if suspension is not None:
            return Capacity(0, suspension.until_s, str(suspension.reason))
        if limits == NO_LIMITS:
            return UNLIMITED
        capacity = self._usage_of(scope).capacity(limits, now_s=now_s)
        if capacity.available > 0:
            return capacity
        reason = self._policies.reason_of(scope, capacity.limited_by, now_s)
        return capacity._replace(limited_by=reason)

    def path_capacity(self, path: Path, *, now_s: float) -> Capacity:
        capacities = [self.capacity(scope, now_s=now_s) for scope in path]
        limited = [capacity for capacity in capacities if capacity is not UNLIMITED]
        return tightest_capacity(*limited) if limited else UNLIMITED

    def reserve(self, path: Path, count: int, *, now_s: float, partial: bool = False) -> int:
        """Book messages against every scope, all or nothing; with partial, as many as all scopes
        admit. Returns the number booked."""
        fitting = min(count, self.path_capacity(path, now_s=now_s).available)
        if fitting <= 0 or (fitting < count and not partial):
            return 0
        self._drop_idle(now_s)
        for scope in path:
            self._spend(scope, fitting, now_s=now_s)
        return fitting

    def undo_reservation(self, path: Path, count: int, *, now_s: float) -> None:
        """Undo a reservation of this moment: its assignment was not saved."""
        self.release(path, count)
        self.refund(path, count, spent_at_s=now_s, now_s=now_s)

    def release(self, path: Path, count: int) -> None:
        """Messages are no longer in flight: their attempts have results."""
        for scope in path:
            if used := self._usages.get(scope):
                used.in_flight = max(0, used.in_flight - count)

    def refund(self, path: Path, count: int, *, spent_at_s: float, now_s: float) -> None:
        """Undo the use of rates and windows, by when it was spent: no connection was made."""
        for scope in path:
            if used := self._usages.get(scope):
                limits, _ = self._policy(scope, now_s)
                for name, limit in rate_limits(limits):
                    limiter = used.rate(name)
                    if limiter.refund(count, limit, spent_at_s=spent_at_s):
                        self._changed.record_rate(scope.key, limiter)
                limited = dict(window_limits(limits))
                for name, counter in used.windows.items():
                    bucket = counter.refund(count, spent_at_s=spent_at_s)
                    if bucket is not None:
                        self._changed.record_window(
                            scope.key, counter, bucket, is_limited=name in limited, now_s=now_s
                        )

    def usage(self, *, now_s: float) -> Iterator[LimitUsage]:
        """Each limit of the scopes that have used any."""
        for scope, used in sorted(self._usages.items()):
            limits, _ = self._policy(scope, now_s)
            for name in LIMITS:
                if maximum := getattr(limits, name):
                    others: dict[str, Any] = {other: 0 for other in LIMITS if other != name}
                    capacity = used.capacity(limits._replace(**others), now_s=now_s)
                    reason = self._policies.reason_of(scope, capacity.limited_by, now_s)
                    yield LimitUsage(scope, name, maximum, capacity, reason)

    def forget_policies(self) -> None:
        """They have changed at this moment."""
        self._known_at_s = -inf

    def drain_changes(self, now_s: float) -> list[CounterRow]:
        """The counters to save now, which have changed since the last call or some time before."""
        return self._changed.drain(now_s)

    def _spend(self, scope: LimitScope, count: int, *, now_s: float) -> None:
        limits, _ = self._policy(scope, now_s)
        used = self._usage_of(scope)
        if scope.kind not in WITHOUT_IN_FLIGHT:
            used.in_flight += count
        for name, limit in rate_limits(limits):
            limiter = used.rate(name)
            limiter.spend(count, limit, now_s=now_s)
            self._changed.record_rate(scope.key, limiter)
        limited = dict(window_limits(limits))
        for name in PERIODS if scope.kind in COUNTED_WITHOUT_LIMIT else limited:
            counter = used.window(name)
            bucket = counter.spend(count, now_s=now_s)
            self._changed.record_window(
                scope.key, counter, bucket, is_limited=name in limited, now_s=now_s
            )

    def _policy(self, scope: LimitScope, now_s: float) -> tuple[Limits, Suspension | None]:
        """Policies are read once per scope and moment."""
        if now_s != self._known_at_s:
            self._known, self._known_at_s = {}, now_s
        if (known := self._known.get(scope)) is None:
            suspension = self._policies.suspension_of(scope, now_s)
            known = self._known[scope] = (self._policies.limits_of(scope, now_s), suspension)
        return known

    def _usage_of(self, scope: LimitScope) -> ScopeUsage:
        if (used := self._usages.get(scope)) is None:
            used = self._usages[scope] = ScopeUsage()
        return used

    def _drop_idle(self, now_s: float) -> None:
        """Check some scopes, once their number has doubled, until all have been checked."""
        if not self._unswept:
            if len(self._usages) <= self._usages_max:
                return
            self._unswept = list(self._usages)
        for _ in range(min(SWEPT_MAX, len(self._unswept))):
            if self._usages[scope := self._unswept.pop()].is_idle(now_s):
                del self._usages[scope]
                self._loaded.discard(scope)
        if not self._unswept:
            self._usages_max = max(USAGES_MIN, 2 * len(self._usages))
