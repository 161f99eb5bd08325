"""The limit scopes of queues and messages: their paths, their capacities, and reservations."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from math import ceil, inf

from services.router.domain.deficit_round_robin import ActiveQueue, BlockedQueue, limiting_scope
from services.router.domain.egress import (
    CHECKED_MAX,
    SANDBOX_SOURCE,
    EgressSource,
    EgressSources,
    SourceRotation,
)
from services.router.domain.ledger import Ledger, LimitPolicies, LimitScope, Path, ScopeKind
from services.router.domain.limits import UNLIMITED, Capacity
from services.router.domain.message import SANDBOX, Priority, ScheduledQueue
from services.router.domain.policies import egress_site_scope
from services.router.domain.reasons import WaitReason

ENGINE = LimitScope(ScopeKind.ENGINE, "")
PATHS_CACHED = 20_000
SOURCE_AT = 3  # in the path of a pool: where a source has scopes of its own


class CellCapacity:
    """The ledger and the egress sources of a cell. pool_of: the pool of a tenant. is_warming:
    whether an egress source warms up at a site."""

    def __init__(
        self,
        policies: LimitPolicies,
        pool_of: Callable[[str], str],
        is_warming: Callable[[str, str], bool] = lambda _, __: False,
    ) -> None:
        self.ledger = Ledger(policies)
        self.sources = EgressSources()
        self.pool_of = pool_of
        self._is_warming = is_warming

    def path_of(self, queue: ScheduledQueue) -> Path:
        """The scopes that may limit a queue, smallest first. None limits a queue whose source is no
        longer used: its messages move to another queue."""
        if queue.site == SANDBOX or queue.egress_id:
            if self.has_departed(queue):
                return ()
            return (*broadcast_scopes(queue), *self.reservation_path(queue, queue.egress_id))
        pool_id = self.pool_of(queue.tenant_id)
        path = pool_path(queue.tenant_id, queue.site, pool_id)
        return (*broadcast_scopes(queue), *sender_scopes(queue), *path)

    def reservation_path(self, queue: ScheduledQueue, egress_id: str) -> Path:
        """The scopes that count a message, smallest first. Test mail counts at the sandbox only."""
        if queue.site == SANDBOX:
            return (site_scope(queue, SANDBOX), LimitScope(ScopeKind.SITE, SANDBOX))
        pool_id = self.pool_of(queue.tenant_id)
        source = self.sources.get(egress_id)
        is_overflow = source is not None and source.pool_id != pool_id
        overflow_id = source.pool_id if source and is_overflow else ""
        path = sent_path(
            queue.tenant_id, queue.site, pool_id, egress_id=egress_id, overflow_id=overflow_id
        )
        return (*sender_scopes(queue), *path)

    def has_in_flight(self, tenant_id: str) -> bool:
        scopes = (LimitScope(ScopeKind.TENANT, tenant_id), sandbox_scope(tenant_id))
        return any(map(self.ledger.in_flight, scopes))

    def has_departed(self, queue: ScheduledQueue) -> bool:
        """Whether the pool of the tenant no longer uses the egress source of a queue: itself, or as
        its overflow."""
        if queue.site == SANDBOX or not queue.egress_id:
            return False
        if (source := self.sources.get(queue.egress_id)) is None:
            return True
        pool_id = self.pool_of(queue.tenant_id)
        if source.pool_id == pool_id:
            return False
        overflow_id = self.sources.overflow_pool(pool_id)
        return source.pool_id != overflow_id or self._is_warming(source.egress_id, queue.site)

    def capacity(self, scope: LimitScope, *, now_s: float, wanted: int) -> Capacity:
        """wanted: where the sum over the sources of a pool may stop."""
        if scope.kind is ScopeKind.POOL_SITE:
            return self._pool_site_capacity(scope, now_s=now_s, wanted=wanted)
        if scope.kind in (ScopeKind.WARMUP, ScopeKind.EGRESS_SITE):
            egress_id, *_ = scope.id.split("/")
            if egress_id != SANDBOX and self.sources.get(egress_id) is None:
                return UNLIMITED  # its messages move to another queue
        return self.ledger.capacity(scope, now_s=now_s)

    def as_blocked(
        self, queue: ActiveQueue, *, capacities: dict[LimitScope, Capacity], now_s: float
    ) -> BlockedQueue | None:
        """The queue as blocked, if a scope without capacity limits it. capacities: those known."""
        path = self.path_of(queue.queue)
        for scope in path:
            if scope not in capacities:
                capacities[scope] = self.capacity(scope, now_s=now_s, wanted=1)
        limiting = limiting_scope(path, capacities)
        return BlockedQueue(queue.queue_id, *limiting) if limiting else None

    def _pool_site_capacity(self, scope: LimitScope, *, now_s: float, wanted: int) -> Capacity:
        """Of the pool's own sources; if they have none, of its overflow."""
        pool_id, _, site = scope.id.partition("/")
        capacity_of = partial(self._source_capacity, pool_id=pool_id, site=site, now_s=now_s)
        own = self.sources.rotation(pool_id, site).capacity(capacity_of, wanted=wanted, now_s=now_s)
        if own.available > 0 or not (overflow := self.sources.overflow(pool_id, site)):
            return own
        other = overflow.capacity(capacity_of, wanted=wanted, now_s=now_s)
        if other.available > 0:
            return other
        return own._replace(available_at_s=min(own.available_at_s, other.available_at_s))

    def _source_capacity(
        self, source: EgressSource, *, pool_id: str, site: str, now_s: float
    ) -> Capacity:
        scopes = source_path(source.egress_id, site)
        if source.pool_id == pool_id:
            return self.ledger.path_capacity(scopes, now_s=now_s)
        if self._is_warming(source.egress_id, site):
            return Capacity(0, inf, WaitReason.WARMUP.value)
        path = (LimitScope(ScopeKind.POOL, source.pool_id), *scopes)
        return self.ledger.path_capacity(path, now_s=now_s)

    def reserve(
        self, queue: ScheduledQueue, count: int, *, now_s: float
    ) -> Iterator[tuple[EgressSource, int]]:
        """Reserve capacity. A queue with an egress source uses no other."""
        if not count:
            return
        if queue.site == SANDBOX or queue.egress_id:
            source = self.sources.get(queue.egress_id) or SANDBOX_SOURCE
            path = self.reservation_path(queue, source.egress_id)
            yield source, self.ledger.reserve(path, count, now_s=now_s, partial=True)
            return
        pool_id = self.pool_of(queue.tenant_id)
        rotation = self.sources.rotation(pool_id, queue.site)
        for source, booked in self._reserve_from(
            rotation, queue, count, pool_id=pool_id, now_s=now_s
        ):
            count -= booked
            yield source, booked
        if count and (overflow := self.sources.overflow(pool_id, queue.site)):
            yield from self._reserve_from(overflow, queue, count, pool_id=pool_id, now_s=now_s)

    def _reserve_from(
        self,
        rotation: SourceRotation,
        queue: ScheduledQueue,
        count: int,
        *,
        pool_id: str,
        now_s: float,
    ) -> Iterator[tuple[EgressSource, int]]:
        rotation.restore_due(now_s)
        turns = 0  # left in this round, so that the sources share the messages evenly
        for _ in range(count + CHECKED_MAX):  # the next tick looks further
            if not count or not rotation.available:
                return
            turns = turns or len(rotation.available)
            source, share = rotation.available[0], ceil(count / turns)
            booked = self._reserve(queue, source, share, pool_id=pool_id, now_s=now_s)
            count, turns = count - booked, turns - 1
            if booked:
                yield source, booked
            if booked == share:
                rotation.available.rotate(-1)
                continue
            capacity = self._source_capacity(source, pool_id=pool_id, site=queue.site, now_s=now_s)
            if capacity.available > 0:
                return  # a larger scope has no more capacity
            rotation.exhaust(source, capacity, now_s=now_s)

    def _reserve(
        self, queue: ScheduledQueue, source: EgressSource, count: int, *, pool_id: str, now_s: float
    ) -> int:
        if source.pool_id != pool_id and self._is_warming(source.egress_id, queue.site):
            return 0  # overflow is for warm sources
        path = self.reservation_path(queue, source.egress_id)
        return self.ledger.reserve(path, count, now_s=now_s, partial=True)


@lru_cache(maxsize=PATHS_CACHED)
def pool_path(tenant_id: str, site: str, pool_id: str) -> tuple[LimitScope, ...]:
    """Of mail that any source of a pool may send."""
    return (
        LimitScope(ScopeKind.TENANT_SITE, f"{tenant_id}/{site}"),
        LimitScope(ScopeKind.TENANT, tenant_id),
        LimitScope(ScopeKind.POOL, pool_id),
        LimitScope(ScopeKind.POOL_SITE, f"{pool_id}/{site}"),
        LimitScope(ScopeKind.SITE, site),
        ENGINE,
    )


@lru_cache(maxsize=PATHS_CACHED)
def sent_path(
    tenant_id: str, site: str, pool_id: str, *, egress_id: str, overflow_id: str
) -> tuple[LimitScope, ...]:
    """Of mail that one source sends. overflow_id: its pool, if it is not that of the tenant."""
    path = pool_path(tenant_id, site, pool_id)
    overflow = (LimitScope(ScopeKind.POOL, overflow_id),) if overflow_id else ()
    own = (*overflow, *source_path(egress_id, site))
    return (*path[:SOURCE_AT], *own, *path[SOURCE_AT + 1 :])


@lru_cache(maxsize=PATHS_CACHED)
def source_path(egress_id: str, site: str) -> tuple[LimitScope, LimitScope]:
    """Of one source at a site, in place of the choice among those of its pool."""
    return (LimitScope(ScopeKind.WARMUP, egress_id), egress_site_scope(egress_id, site))


def sender_scopes(queue: ScheduledQueue) -> Path:
    """Of the campaign, and of the API key or the mailbox, if they have limits of their own."""
    ids = (
        (ScopeKind.CAMPAIGN, queue.campaign_id),
        (ScopeKind.API_KEY, queue.key_id),
        (ScopeKind.MAILBOX, queue.mailbox_id),
    )
    return tuple(LimitScope(kind, name) for kind, name in ids if name)


def broadcast_scopes(queue: ScheduledQueue) -> Path:
    """Suspended while the broadcasts of the tenant are paused. It counts nothing."""
    if queue.priority is Priority.BULK and queue.site != SANDBOX:
        return (LimitScope(ScopeKind.BROADCASTS, queue.tenant_id),)
    return ()


def sandbox_scope(tenant_id: str) -> LimitScope:
    """Of the test mail of a tenant."""
    return egress_site_scope(SANDBOX, SANDBOX, tenant_id)


def site_scope(queue: ScheduledQueue, egress_id: str) -> LimitScope:
    """The scope of an egress source at the site of a queue."""
    tenant_id = queue.tenant_id if queue.site == SANDBOX else ""
    return egress_site_scope(egress_id, queue.site, tenant_id)
