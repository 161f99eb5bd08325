"""Egress sources, and which of them has capacity at a site."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import Capacity
from services.router.domain.message import SANDBOX
from services.router.domain.reasons import WaitReason

RECHECK_S = 5.0  # an exhausted source is checked again, even if nothing has announced capacity
CHECKED_MAX = 16  # sources of a pool at one site, in one look
ROTATIONS_SOURCES_MAX = 2_000_000  # sources in all rotations; the least recently used are dropped

# What ends with more allowance or less suspicion, and not with the next second or result.
OVERFLOW_REASONS = frozenset(
    (
        *(WaitReason.WARMUP, WaitReason.OVERRIDE, WaitReason.LISTED),
        *(WaitReason.SUSPENDED, WaitReason.NO_EGRESS, WaitReason.EGRESS_HOST),
    )
)

CapacityOf = Callable[["EgressSource"], Capacity]


@dataclass(frozen=True, slots=True)
class EgressSource:
    """A source IP with its EHLO name. If source_ip is empty, the host's default route is used.
    feedback_domain_id: of its pool. egress_host: that owns the addresses; empty: delivery does."""

    egress_id: str
    pool_id: str
    source_ip: str
    ehlo: str
    source_ipv6: str = ""
    paused: bool = False
    feedback_domain_id: str = ""
    egress_host: str = ""


SANDBOX_SOURCE = EgressSource(SANDBOX, "", "", "")


@dataclass(slots=True)
class SourceRotation:
    """The sources of a pool at one site: those with capacity in turn, and the exhausted ones until
    they are released. An exhausted source costs nothing meanwhile."""

    available: deque[EgressSource]
    exhausted: dict[str, tuple[EgressSource, Capacity]] = field(default_factory=dict)
    _releases: list[tuple[float, str]] = field(default_factory=list)

    @classmethod
    def of(cls, sources: Sequence[EgressSource]) -> "SourceRotation":
        return cls(deque(sources))

    @property
    def size(self) -> int:
        return len(self.available) + len(self.exhausted)

    @property
    def overflows(self) -> bool:
        """Whether no source may send more, for reasons other than its rates and its messages in
        flight."""
        reasons = (capacity.limited_by for _, capacity in self.exhausted.values())
        return not self.available and all(one in OVERFLOW_REASONS for one in reasons)

    def restore_due(self, now_s: float) -> None:
        while self._releases and self._releases[0][0] <= now_s:
            self.restore(heappop(self._releases)[1])

    def restore(self, egress_id: str) -> None:
        """The source may have capacity again."""
        if found := self.exhausted.pop(egress_id, None):
            self.available.append(found[0])

    def exhaust(self, source: EgressSource, capacity: Capacity, *, now_s: float) -> None:
        """Set the first available source aside until its capacity is released."""
        self.available.popleft()
        self.exhausted[source.egress_id] = (source, capacity)
        release_s = min(capacity.available_at_s, now_s + RECHECK_S)
        heappush(self._releases, (release_s, source.egress_id))

    def capacity(self, capacity_of: CapacityOf, *, wanted: int, now_s: float) -> Capacity:
        """The sum of the sources, which stops at the number wanted. If none has capacity, the one
        that has it first.

        Of many sources only some are checked, and the others count as much as these: what turns
        out to be too much stays in its queue.
        """
        self.restore_due(now_s)
        total = counted = checked = 0
        most = min(len(self.available), CHECKED_MAX)
        while checked < most and total < wanted:
            source = self.available[0]
            capacity = capacity_of(source)
            checked += 1
            if capacity.available <= 0:
                self.exhaust(source, capacity, now_s=now_s)
                continue
            total, counted = total + capacity.available, counted + 1
            self.available.rotate(-1)
        if total:
            others = total * (len(self.available) - counted) // checked
            return Capacity(max(total, min(total + others, wanted)))
        if self.available:
            return Capacity(0, now_s, WaitReason.NO_EGRESS.value)  # the next tick checks more
        capacities = [capacity for _, capacity in self.exhausted.values()]
        none = Capacity(0, inf, WaitReason.NO_EGRESS.value)
        return min(capacities, key=lambda one: one.available_at_s, default=none)


class EgressSources:
    """All sources of a cell, by pool. Paused ones are not used, but their EHLO names still count as
    names of this engine."""

    def __init__(self) -> None:
        self.ehlo_names: frozenset[str] = frozenset()
        self._by_id: dict[str, EgressSource] = {}
        self._by_pool: dict[str, list[EgressSource]] = {}
        self._overflow_pools: dict[str, str] = {}
        self._overflowing: dict[str, list[str]] = {}  # the pools that overflow to a pool
        # By pool, site, and whether for the mail that overflows to the pool.
        self._rotations: OrderedDict[tuple[str, str, bool], SourceRotation] = OrderedDict()
        self._size = 0

    def replace(
        self, sources: Iterable[EgressSource], overflow_pools: Mapping[str, str] | None = None
    ) -> bool:
        """overflow_pools: by pool. True if any source or overflow pool has changed."""
        listed, overflow_pools = list(sources), dict(overflow_pools or {})
        self.ehlo_names = frozenset(one.ehlo for one in listed)
        by_id = {one.egress_id: one for one in listed if not one.paused}
        if by_id == self._by_id and overflow_pools == self._overflow_pools:
            return False
        self._overflow_pools, self._overflowing = overflow_pools, {}
        for pool_id, overflow_id in overflow_pools.items():
            self._overflowing.setdefault(overflow_id, []).append(pool_id)
        self._by_id, self._by_pool = by_id, {}
        for one in by_id.values():
            self._by_pool.setdefault(one.pool_id, []).append(one)
        self.forget_capacities()
        return True

    def get(self, egress_id: str) -> EgressSource | None:
        """None for a paused source, too."""
        return self._by_id.get(egress_id)

    def overflow_pool(self, pool_id: str) -> str:
        return self._overflow_pools.get(pool_id, "")

    def overflow(self, pool_id: str, site: str) -> SourceRotation | None:
        """The sources of the overflow pool, if the pool's own have no capacity left that returns
        soon."""
        overflow_id = self.overflow_pool(pool_id)
        if not (overflow_id and self.rotation(pool_id, site).overflows):
            return None
        return self.rotation(overflow_id, site, overflow=True)

    def rotation(self, pool_id: str, site: str, *, overflow: bool = False) -> SourceRotation:
        key = (pool_id, site, overflow)
        if (rotation := self._rotations.get(key)) is None:
            rotation = self._rotations[key] = SourceRotation.of(self._by_pool.get(pool_id, ()))
            self._size += rotation.size
            while self._size > ROTATIONS_SOURCES_MAX and len(self._rotations) > 1:
                self._size -= self._rotations.popitem(last=False)[1].size
        self._rotations.move_to_end(key)
        return rotation

    def restore(self, egress_id: str, site: str) -> list[LimitScope]:
        """A source may have capacity at a site again. Returns the scopes of the pools that use it
        there."""
        if (source := self._by_id.get(egress_id)) is None:
            return []
        for overflow in (False, True):
            if rotation := self._rotations.get((source.pool_id, site, overflow)):
                rotation.restore(egress_id)
        pools = (source.pool_id, *self._overflowing.get(source.pool_id, ()))
        return [LimitScope(ScopeKind.POOL_SITE, f"{pool_id}/{site}") for pool_id in pools]

    def forget_capacities(self) -> None:
        """Limits have changed: any source may have capacity again."""
        self._rotations.clear()
        self._size = 0
