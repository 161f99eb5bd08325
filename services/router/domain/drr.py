"""Fair allocation by deficit round robin: a million messages of one tenant do not delay one message
of another.

Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995), applied
twice: over the tenants, and within a tenant over its queues. A message costs one, and the quantum
of a queue is the weight of its priority.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from services.router.domain.ledger import Path, Scope
from services.router.domain.limits import Capacity, tightest
from services.router.domain.message import ScheduledQueue


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
    scope: Scope
    capacity: Capacity


@dataclass(slots=True)
class Allocation:
    """quotas: messages granted to each queue, by queue id."""

    quotas: dict[str, int] = field(default_factory=dict)
    blocked: list[BlockedQueue] = field(default_factory=list)


def allocate(
    queues: Sequence[ActiveQueue],
    *,
    path_of: Callable[[ScheduledQueue], Path],
    capacity_of: Callable[[Scope], Capacity],
    batch_max: int,
) -> Allocation:
    """Allocate quotas that fit all scopes together. queues: the longest waiting comes first."""
    allocation = Allocation()
    capacities: dict[Scope, Capacity] = {}
    by_tenant: dict[str, deque[tuple[ActiveQueue, Path]]] = {}
    for queue in queues:
        path = path_of(queue.queue)
        for scope in path:
            if scope not in capacities:
                capacities[scope] = capacity_of(scope)
        if exhausted := limiting_scope(path, capacities):
            allocation.blocked.append(BlockedQueue(queue.queue_id, *exhausted))
        else:
            by_tenant.setdefault(queue.queue.tenant_id, deque()).append((queue, path))
    available = {scope: capacity.available for scope, capacity in capacities.items()}
    deficit_round_robin(
        deque(by_tenant.values()), available, allocation.quotas, batch_max=batch_max
    )
    return allocation


def limiting_scope(
    path: Iterable[Scope], capacities: dict[Scope, Capacity]
) -> tuple[Scope, Capacity] | None:
    """The exhausted scope that has capacity again last; None if all have capacity."""
    exhausted = [(scope, capacities[scope]) for scope in path if capacities[scope].available <= 0]
    if not exhausted:
        return None
    last = tightest(*(capacity for _, capacity in exhausted))
    return next(one for one in exhausted if one[1] == last)


def deficit_round_robin(
    tenants: "deque[deque[tuple[ActiveQueue, Path]]]",
    available: dict[Scope, int],
    quotas: dict[str, int],
    *,
    batch_max: int,
) -> None:
    """Grant one quantum at a time, until the batch is full or no queue can use more. Queues share
    what is left of a scope by their weights: none takes more than its part in one turn."""
    weights = Counter[Scope]()
    for queues in tenants:
        for queue, path in queues:
            for scope in path:
                weights[scope] += queue.queue.priority
    while tenants and batch_max > 0:
        queues = tenants.popleft()
        queue, path = queues.popleft()
        weight = queue.queue.priority
        granted = min(weight, batch_max)
        for scope in path:
            granted = min(granted, ceil(available[scope] * weight / weights[scope]))
        if granted > 0:
            quotas[queue.queue_id] = quotas.get(queue.queue_id, 0) + granted
            batch_max -= granted
            for scope in path:
                available[scope] -= granted
            queues.append((queue, path))
        else:
            for scope in path:
                weights[scope] -= weight
        if queues:
            tenants.append(queues)
