"""The limit scopes of a message: its tenant, and the egress sources of its pool at its site."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from services.router.domain.limits import (
    NO_LIMITS,
    Capacity,
    InFlight,
    RateLimits,
    Usage,
    tightest,
)
from services.router.domain.message import SANDBOX, ScheduledQueue
from services.router.domain.shaping import Shaping, SiteLimits

UNKNOWN_TENANT_RETRY_S = 0.2  # a message can arrive before the record of its tenant
DEFAULT_POOL = "00000000-0000-7000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class EgressSource:
    """A source IP with its EHLO name. If source_ip is empty, the host's default route is used."""

    egress_id: str
    pool_id: str
    source_ip: str
    ehlo: str
    source_ipv6: str = ""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class TenantRouting:
    """The fields of a tenant that routing uses."""

    limits: RateLimits = NO_LIMITS
    pool_id: str = DEFAULT_POOL


class LimitScopes:
    """Capacities of tenants and of egress sources at sites. The state is mutable.

    routing_of: the routing of a tenant by id; None until its record has arrived.
    """

    def __init__(self, routing_of: Callable[[str], TenantRouting | None], shaping: Shaping) -> None:
        self.usage = Usage()
        self.in_flight = InFlight()
        self._find_routing = routing_of
        self._shaping = shaping
        self._pools: dict[str, list[EgressSource]] = {}
        self.ehlo_names: frozenset[str] = frozenset()

    def site_limits_of(self, site: str) -> SiteLimits:
        return self._shaping.of(site)

    def _routing_of(self, tenant_id: str) -> TenantRouting:
        return self._find_routing(tenant_id) or TenantRouting()

    def set_sources(self, egresses: Iterable[EgressSource]) -> None:
        """Set all sources of the cell. Paused ones are not used, but their EHLO names still count
        as names of this engine."""
        self._pools = {}
        egresses = list(egresses)
        self.ehlo_names = frozenset(egress.ehlo for egress in egresses)
        for egress in egresses:
            if not egress.paused:
                self._pools.setdefault(egress.pool_id, []).append(egress)

    def scopes_of(self, queue: ScheduledQueue) -> tuple[str, ...]:
        """The scopes that may limit a queue, smallest first."""
        if queue.site == SANDBOX:
            return ()
        pool_id = self._routing_of(queue.tenant_id).pool_id
        return (f"tenant/{queue.tenant_id}", f"pool/{pool_id}/{queue.site}")

    def capacity(self, scope: str, *, now_s: float) -> Capacity:
        kind, _, name = scope.partition("/")
        if kind == "tenant":
            if (routing := self._find_routing(name)) is None:
                return Capacity(0, now_s + UNKNOWN_TENANT_RETRY_S, "tenant_unknown")
            return self.usage.capacity(scope, routing.limits, now_s=now_s)
        pool_id, _, site = name.partition("/")
        return self._pool_capacity(pool_id, site, now_s=now_s)

    def _pool_capacity(self, pool_id: str, site: str, *, now_s: float) -> Capacity:
        capacities = [
            self._source_capacity(e, site, now_s=now_s) for e in self._pools.get(pool_id, [])
        ]
        if not capacities:
            return Capacity(0, inf, "no_egress")
        if available := sum(capacity.available for capacity in capacities):
            return Capacity(available, limited_by=capacities[0].limited_by)
        return min(capacities, key=lambda capacity: capacity.available_at_s)

    def _source_capacity(self, egress: EgressSource, site: str, *, now_s: float) -> Capacity:
        site_limits = self._shaping.of(site)
        available = site_limits.in_flight_max - self.in_flight.count(egress.egress_id, site)
        in_flight = Capacity(max(available, 0), inf, "site_in_flight")
        if not site_limits.per_second_max:
            return in_flight
        limits = RateLimits(per_second=site_limits.per_second_max)
        rate = self.usage.capacity(f"egress/{egress.egress_id}/{site}", limits, now_s=now_s)
        return tightest(rate._replace(limited_by="site_rate"), in_flight)

    def source_capacities(
        self, queue: ScheduledQueue, *, now_s: float
    ) -> list[tuple[EgressSource, int]]:
        """The sources of the queue's pool, with the capacity of each at its site."""
        egresses = self._pools.get(self._routing_of(queue.tenant_id).pool_id, [])
        return [(e, self._source_capacity(e, queue.site, now_s=now_s).available) for e in egresses]

    def spend_tenant(self, tenant_id: str, *, number: int, now_s: float) -> None:
        """Count messages against the limits of a tenant."""
        limits = self._routing_of(tenant_id).limits
        self.usage.spend(f"tenant/{tenant_id}", number, limits=limits, now_s=now_s)

    def spend_source(self, egress_id: str, site: str, *, number: int, now_s: float) -> None:
        """Count messages against the limits of a source at a site."""
        if per_second := self._shaping.of(site).per_second_max:
            limits = RateLimits(per_second=per_second)
            self.usage.spend(f"egress/{egress_id}/{site}", number, limits=limits, now_s=now_s)
        self.in_flight.add(egress_id, site, number)

    def refund(
        self, queue: ScheduledQueue, egress_id: str, *, count: int, spent_at_s: float
    ) -> None:
        """Undo a spend for attempts that made no connection."""
        scope = f"tenant/{queue.tenant_id}"
        limits = self._routing_of(queue.tenant_id).limits
        self.usage.refund(scope, count, limits=limits, spent_at_s=spent_at_s)
        if per_second := self._shaping.of(queue.site).per_second_max:
            scope, limits = f"egress/{egress_id}/{queue.site}", RateLimits(per_second=per_second)
            self.usage.refund(scope, count, limits=limits, spent_at_s=spent_at_s)

    def undo_spend(self, queue: ScheduledQueue, egress_id: str, *, now_s: float) -> None:
        """Undo a spend of this tick whose assignment was not saved."""
        if queue.site != SANDBOX:
            self.refund(queue, egress_id, count=1, spent_at_s=now_s)
            self.in_flight.free(egress_id, queue.site, 1)
