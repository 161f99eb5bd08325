"""Limit scopes that block queues, and when each may have capacity again."""

from dataclasses import dataclass, field
from heapq import heappop, heappush

from services.router.domain.egress import RECHECK_S
from services.router.domain.ledger import LimitScope
from services.router.domain.reached_limits import ReachedLimits


class BlockingScopes:
    """A scope is checked when its capacity is released: at a time, by a result or by a change of
    the directory. A scope that is not due costs nothing. Each is also checked every few seconds,
    so that no queue depends on an announcement that was lost."""

    def __init__(self) -> None:
        self._check_at_s: dict[LimitScope, float] = {}
        self._heap: list[tuple[float, LimitScope]] = []
        self.reached = ReachedLimits()

    def __len__(self) -> int:
        return len(self._check_at_s)

    def __contains__(self, scope: LimitScope) -> bool:
        return scope in self._check_at_s

    def add(self, scope: LimitScope, at_s: float, *, now_s: float) -> None:
        """Queues wait for this scope, which may have capacity at this time."""
        at_s = min(at_s, now_s + RECHECK_S)
        if at_s < self._check_at_s.get(scope, at_s + 1):
            self._check_at_s[scope] = at_s
            heappush(self._heap, (at_s, scope))

    def check_now(self, scope: LimitScope, *, now_s: float) -> None:
        """The scope may have capacity now."""
        if scope in self._check_at_s:
            self.add(scope, now_s, now_s=now_s)

    def check_all(self, now_s: float) -> None:
        for scope in self._check_at_s:
            self._check_at_s[scope] = now_s
        self._heap = [(now_s, scope) for scope in self._check_at_s]

    def pop_due(self, now_s: float, *, limit: int) -> list[LimitScope]:
        """The scopes to check now. Each must be added again, unless no queue waits for it."""
        due: list[LimitScope] = []
        while self._heap and self._heap[0][0] <= now_s and len(due) < limit:
            at_s, scope = heappop(self._heap)
            if self._check_at_s.get(scope) == at_s:
                del self._check_at_s[scope]
                due.append(scope)
        return due

    def next_s(self) -> float | None:
        """When the first scope is due; None if no queue waits."""
        while self._heap and self._check_at_s.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None


@dataclass(slots=True)
class QueuesToUnblock:
    """What to unblock. counts: queues of each scope. tenants: whose pool or limits changed."""

    counts: dict[LimitScope, int] = field(default_factory=dict)
    tenants: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.counts or self.tenants)
