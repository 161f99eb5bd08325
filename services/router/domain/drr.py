"""Fair allocation by deficit round robin: a million messages of one tenant do not delay one message
of another.

Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995), applied
twice: over the tenants, and within a tenant over its queues. A message costs one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.router.domain.limits import Capacity, tightest
from services.router.domain.message import ScheduledQueue

EXPRESS_QUANTUM = 10
BULK_QUANTUM = 1  # a tenth of an express quantum


class ActiveQueue(NamedTuple):
    queue_id: str
    version: int
    queue: ScheduledQueue

    @classmethod
    def of(cls, queue_id: str, version: int) -> "ActiveQueue":
        return cls(queue_id, version, ScheduledQueue.of(queue_id))


class BlockedQueue(NamedTuple):
    """A queue that stays blocked until the scope that limits it has capacity."""

    queue_id: str
    scope: str
    capacity: Capacity


@dataclass(slots=True)
class Allocation:
    """quotas: messages granted to each queue, by queue id."""

    quotas: dict[str, int] = field(default_factory=dict)
    blocked: list[BlockedQueue] = field(default_factory=list)


def allocate(
    queues: Sequence[ActiveQueue],
    *,
    scopes_of: Callable[[ScheduledQueue], Sequence[str]],
    capacity_of: Callable[[str], Capacity],
    batch_max: int,
) -> Allocation:
    """Allocate quotas that fit all scopes together. queues: the longest waiting comes first."""
    allocation = Allocation()
    capacities: dict[str, Capacity] = {}
    by_tenant: dict[str, deque[tuple[ActiveQueue, Sequence[str]]]] = {}
    for queue in queues:
        scope_keys = scopes_of(queue.queue)
        for scope in scope_keys:
            if scope not in capacities:
                capacities[scope] = capacity_of(scope)
        if exhausted := limiting_scope(scope_keys, capacities):
            allocation.blocked.append(BlockedQueue(queue.queue_id, *exhausted))
        else:
            by_tenant.setdefault(queue.queue.tenant_id, deque()).append((queue, scope_keys))
    available = {scope: capacity.available for scope, capacity in capacities.items()}
    deficit_round_robin(
        deque(by_tenant.values()), available, allocation.quotas, batch_max=batch_max
    )
    return allocation


def limiting_scope(
    scope_keys: Iterable[str], capacities: dict[str, Capacity]
) -> tuple[str, Capacity] | None:
    """The exhausted scope that has capacity again last; None if all have capacity."""
    exhausted = {
        scope: capacities[scope] for scope in scope_keys if capacities[scope].available <= 0
    }
    if not exhausted:
        return None
    tightest_capacity = tightest(*exhausted.values())
    return next(
        (scope, capacity) for scope, capacity in exhausted.items() if capacity == tightest_capacity
    )


def deficit_round_robin(
    tenants: "deque[deque[tuple[ActiveQueue, Sequence[str]]]]",
    available: dict[str, int],
    quotas: dict[str, int],
    *,
    batch_max: int,
) -> None:
    """Grant one quantum at a time, until the batch is full or no queue can use more."""
    while tenants and batch_max > 0:
        queues = tenants.popleft()
        queue, scope_keys = queues.popleft()
        quantum = BULK_QUANTUM if queue.queue.bulk else EXPRESS_QUANTUM
        granted = min(quantum, batch_max)
        for scope in scope_keys:
            granted = min(granted, available[scope])
        if granted > 0:
            quotas[queue.queue_id] = quotas.get(queue.queue_id, 0) + granted
            batch_max -= granted
            for scope in scope_keys:
                available[scope] -= granted
            queues.append((queue, scope_keys))
        if queues:
            tenants.append(queues)
