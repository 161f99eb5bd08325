"""Fair allocation by deficit round robin: a million messages of one tenant do not delay one message
of another.

Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995), applied
twice: over the tenants, and within a tenant over its queues. A message costs one, and the quantum
of a queue is that of its priority.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import inf
from typing import NamedTuple

from services.router.domain.ledger import LimitScope, Path, ScopeKind
from services.router.domain.limits import Capacity, tightest_capacity
from services.router.domain.message import Priority, ScheduledQueue

TURN_MAX = 10  # messages that a tenant is granted at once
BATCH = LimitScope(ScopeKind.ENGINE, "batch")  # the messages of one tick
BULK = LimitScope(ScopeKind.ENGINE, "bulk")  # those of them that are bulk mail


class ActiveQueue(NamedTuple):
    """first_due_s: no message of the queue is due before."""

    queue_id: str
    version: int
    queue: ScheduledQueue
    first_due_s: float = -inf

    @classmethod
    def of(cls, queue_id: str, version: int, first_due_s: float | None = None) -> "ActiveQueue":
        first_due_s = -inf if first_due_s is None else first_due_s
        return cls(queue_id, version, ScheduledQueue.of(queue_id), first_due_s)


class BlockedQueue(NamedTuple):
    """A queue that stays blocked until the scope that limits it has capacity."""

    queue_id: str
    scope: LimitScope
    capacity: Capacity


@dataclass(slots=True)
class AllocatedQuotas:
    """quotas: messages granted to each queue, by queue id."""

    quotas: dict[str, int] = field(default_factory=dict)
    blocked: list[BlockedQueue] = field(default_factory=list)


@dataclass(slots=True)
class RotatingQueue:
    """A queue in its tenant's rotation. deficit: what is left of its quantum; it stays first until
    that is used. weight: granted at once, so that no tenant gains by urgent mail.
    path: the scopes that may run out."""

    queue_id: str
    path: Path
    quantum: int
    weight: int
    deficit: int

    @classmethod
    def of(cls, queue: ActiveQueue, path: Path) -> "RotatingQueue":
        quantum = int(queue.queue.priority)
        return cls(queue.queue_id, path, quantum, min(quantum, TURN_MAX), quantum)


def allocate(
    queues: Sequence[ActiveQueue],
    *,
    path_of: Callable[[ScheduledQueue], Path],
    capacity_of: Callable[[LimitScope], Capacity],
    batch_max: int,
    bulk_max: float = inf,
    weight_of: Callable[[str], int] = lambda _: 1,
) -> AllocatedQuotas:
    """Allocate quotas that fit all scopes together. queues: the longest waiting comes first.
    weight_of: the turns of a tenant in each round."""
    allocation = AllocatedQuotas()
    capacities = {
        BATCH: Capacity(batch_max),
        BULK: Capacity(int(min(batch_max, bulk_max))),
    }
    by_tenant: dict[str, deque[RotatingQueue]] = {}
    for queue in queues:
        path = path_of(queue.queue)
        for scope in path:
            if scope not in capacities:
                capacities[scope] = capacity_of(scope)
        if exhausted := limiting_scope(path, capacities):
            allocation.blocked.append(BlockedQueue(queue.queue_id, *exhausted))
        else:
            scarce = [scope for scope in path if capacities[scope].available < batch_max]
            shared = [BATCH, BULK] if queue.queue.priority is Priority.BULK else [BATCH]
            turn = RotatingQueue.of(queue, [*shared, *scarce])
            by_tenant.setdefault(queue.queue.tenant_id, deque()).append(turn)
    available = {scope: capacity.available for scope, capacity in capacities.items()}
    tenants = (turns for one, turns in by_tenant.items() for _ in range(weight_of(one)))
    deficit_round_robin(deque(tenants), available, allocation.quotas)
    return allocation


def limiting_scope(
    path: Iterable[LimitScope], capacities: dict[LimitScope, Capacity]
) -> tuple[LimitScope, Capacity] | None:
    """The exhausted scope that has capacity again last; None if all have capacity."""
    exhausted = [(scope, capacities[scope]) for scope in path if capacities[scope].available <= 0]
    if not exhausted:  # as a rule
        return None
    last = tightest_capacity(*(capacity for _, capacity in exhausted))
    return next(one for one in exhausted if one[1] == last)


def deficit_round_robin(
    tenants: "deque[deque[RotatingQueue]]", available: dict[LimitScope, int], quotas: dict[str, int]
) -> None:
    """Let the tenants take turns, until the batch is full or no queue can use more. Queues share
    what is left of a scope, and of the batch, by their weights: none takes more than its part in
    one turn."""
    weights = total_weights(chain.from_iterable({id(one): one for one in tenants}.values()))
    while tenants and available[BATCH] > 0:
        queues = tenants.popleft()
        if not queues:  # in an earlier turn of this tenant
            continue
        turn = queues[0]
        if (granted := share_of(turn, available, weights)) > 0:
            quotas[turn.queue_id] = quotas.get(turn.queue_id, 0) + granted
            for scope in turn.path:
                available[scope] -= granted
            turn.deficit -= granted
        else:
            for scope in turn.path:
                weights[scope] -= turn.weight
            queues.popleft()
        if turn.deficit <= 0:
            turn.deficit = turn.quantum
            queues.rotate(-1)
        if queues:
            tenants.append(queues)


def share_of(
    turn: RotatingQueue, available: Mapping[LimitScope, int], weights: Mapping[LimitScope, int]
) -> int:
    """What a queue takes in one turn: its part of the scarcest scope, rounded up."""
    granted = min(turn.weight, turn.deficit)
    for scope in turn.path:
        granted = min(granted, -(-available[scope] * turn.weight // weights[scope]))
    return granted


def total_weights(turns: Iterable[RotatingQueue]) -> Counter[LimitScope]:
    weights = Counter[LimitScope]()
    for turn in turns:
        for scope in turn.path:
            weights[scope] += turn.weight
    return weights
