"""A cell: the decisions of one scheduler. No clock and no I/O: the scheduler, simulations and tests
run it alike.

In each tick: load what is `unloaded`, `apply_results`, `plan` the quotas of the active queues,
`dispatch` the rows that were read for them, `undo_assignments` that could not be saved,
`finish_round`, and save `counters_to_save`. After the commit, `queues_to_unblock` names the scopes
whose blocked queues can be unblocked.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import inf

from contracts.router.v1.policies_pb2 import PolicyCommand
from contracts.router.v1.results_pb2 import RESULT_KIND_ATTEMPT, Result
from services.router.domain.blocking_scopes import BlockingScopes, QueuesToUnblock
from services.router.domain.cells import CellShare
from services.router.domain.congestion_control import BulkCongestionWindow
from services.router.domain.counters import CounterRow
from services.router.domain.deficit_round_robin import ActiveQueue, AllocatedQuotas, allocate
from services.router.domain.dispatch import (
    AssignableMessage,
    Assignment,
    DispatchContext,
    DispatchResult,
    LimitedSenders,
    MessageHold,
    QueueAfterDispatch,
    Requeue,
    assign,
    decide_before_assignment,
    pace_of,
)
from services.router.domain.egress import EgressSource
from services.router.domain.events import unix_s
from services.router.domain.ledger import LimitScope, Path, ScopeKind
from services.router.domain.message import DueMessage, ScheduledQueue
from services.router.domain.policies import CombinedPolicies, PolicySource
from services.router.domain.policy_engine import AdaptivePolicies
from services.router.domain.results import InFlightCount, is_refunded
from services.router.domain.round import LastTurns, QueueQuery, RecentQueues, Round, finish_round
from services.router.domain.scopes import CellCapacity, site_scope

UNBLOCKED_MAX = 200  # queues of one scope that are unblocked at a time
CHECKED_MAX = 500  # scopes that are checked in one tick


class Cell:
    """policies: besides the adaptive ones. messages_max: assigned in one tick; the scheduler adapts
    it to how long its ticks take."""

    def __init__(
        self,
        policies: Iterable[PolicySource],
        context: DispatchContext,
        *,
        adaptive: AdaptivePolicies | None = None,
        messages_max: int = 500,
    ) -> None:
        self.adaptive = adaptive or AdaptivePolicies()
        self.share = CellShare()
        self.policies = CombinedPolicies([*policies, *self.adaptive.sources], self.share)
        is_warming = self.adaptive.warmups.is_warming
        self.scopes = CellCapacity(self.policies, context.pool_of, is_warming)
        self.blocking = BlockingScopes()
        self._context = context
        self.messages_max = messages_max
        self._congestion = BulkCongestionWindow()
        self._queue_turns = LastTurns()
        self._recent = RecentQueues()
        self._changed_tenants: set[str] = set()
        self._next_due_s = self._express_due_s = inf
        self.tenants: set[str] = set()  # to be served, with counters that no other cell has
        self.changed: set[str] = set()  # of these, those whose pool may be another one now

    # ── the state of the previous scheduler, and changes of the directory ───────────────────────

    def load(self, counters: Iterable[CounterRow], scopes: Iterable[LimitScope] = ()) -> None:
        """scopes: whose counters were not loaded, and are now."""
        self.scopes.ledger.load(counters, scopes)

    def unloaded(
        self, active: Iterable[ActiveQueue], results: Iterable[Result]
    ) -> list[LimitScope]:
        """The scopes whose counters must be loaded first: those of queues that may send, and of
        results that are refunded."""
        queues = [one.queue for one in active]
        queues += (ScheduledQueue.of(one.queue_id) for one in results if is_refunded(one))
        paths = (self.scopes.path_of(one) for one in queues if one.tenant_id in self.tenants)
        return self.scopes.ledger.unloaded(scope for path in paths for scope in path)

    def load_in_flight(self, in_flight: Iterable[InFlightCount]) -> None:
        for one in in_flight:
            path = self.scopes.reservation_path(ScheduledQueue.of(one.queue_id), one.egress_id)
            self.scopes.ledger.load_in_flight(path, one.number)

    def load_blocking_scopes(self, scopes: Iterable[LimitScope]) -> None:
        """The scopes that block queues; each is checked in one of the first ticks."""
        for scope in scopes:
            self.blocking.add(scope, 0.0, now_s=0.0)

    def replace_sources(
        self,
        sources: Iterable[EgressSource],
        overflow_pools: Mapping[str, str] | None = None,
        *,
        now_s: float,
    ) -> None:
        """overflow_pools: by pool."""
        listed = list(sources)
        if self.scopes.sources.replace(listed, overflow_pools):
            self.adaptive.replace_sources(listed, overflow_pools)
            self.blocking.check_all(now_s)

    def on_tenant_changed(self, tenant_id: str) -> None:
        """Its limits or its pool may have changed."""
        if tenant_id in self.tenants:
            self.tenants.remove(tenant_id)
            self.changed.add(tenant_id)
        if self.blocking:
            self._changed_tenants.add(tenant_id)

    def on_policies_changed(self, *, now_s: float) -> None:
        """Limits may have been raised, or suspensions lifted."""
        self.scopes.ledger.forget_policies()
        self.scopes.sources.forget_capacities()
        self.blocking.check_all(now_s)

    # ── one tick ────────────────────────────────────────────────────────────────────────────────

    def apply_results(
        self, results: Sequence[Result], *, commands: Iterable[PolicyCommand] = (), now_s: float
    ) -> None:
        for one in results:
            if one.kind != RESULT_KIND_ATTEMPT:
                continue
            queue = ScheduledQueue.of(one.queue_id)
            path = self.scopes.reservation_path(queue, one.egress_id)
            self.scopes.ledger.release(path, one.count)
            self._refund(one, path, now_s=now_s)
            pool_sites = self.scopes.sources.restore(one.egress_id, queue.site)
            for scope in (*path, *pool_sites):
                self.blocking.check_now(scope, now_s=now_s)
        self._congestion.record_results(results, now_s=now_s)
        self._adapt(results, commands, now_s=now_s)

    def apply_results_before_load(
        self, results: Sequence[Result], *, commands: Iterable[PolicyCommand] = (), now_s: float
    ) -> None:
        """As apply_results, for results that the count of messages in flight does not include."""
        for one in results:
            if one.kind == RESULT_KIND_ATTEMPT:
                path = self.scopes.reservation_path(ScheduledQueue.of(one.queue_id), one.egress_id)
                self._refund(one, path, now_s=now_s)
        self._adapt(results, commands, now_s=now_s)

    def _adapt(
        self, results: Sequence[Result], commands: Iterable[PolicyCommand], *, now_s: float
    ) -> None:
        if self.adaptive.observe(results, commands, now_s=now_s):
            self.on_policies_changed(now_s=now_s)
        else:
            self.scopes.ledger.forget_policies()

    def _refund(self, result: Result, path: Path, *, now_s: float) -> None:
        """A campaign has an allowance of deliveries, the other scopes of attempts."""
        if not is_refunded(result):
            return
        if result.connected:
            path = [scope for scope in path if scope.kind is ScopeKind.CAMPAIGN]
        assigned_s = unix_s(result.assigned_at)
        self.scopes.ledger.refund(path, result.count, spent_at_s=assigned_s, now_s=now_s)

    def plan(
        self, active: Sequence[ActiveQueue], *, express_only: bool = False, now_s: float
    ) -> AllocatedQuotas:
        """Quotas that fit all scopes. express_only: no bulk mail."""
        return allocate(
            self._queue_turns.sort(active),
            path_of=self.scopes.path_of,
            capacity_of=partial(self.scopes.capacity, now_s=now_s, wanted=self.messages_max),
            batch_max=self.messages_max,
            bulk_max=0 if express_only else self._congestion.window,
            weight_of=self.adaptive.limits.weight_of,
        )

    def to_read(self, active: Iterable[ActiveQueue], quotas: Mapping[str, int]) -> list[QueueQuery]:
        """The rows to read for the quotas."""
        return self._queue_turns.to_read(active, quotas)

    def dispatch(
        self, due: Mapping[str, Sequence[DueMessage]], quotas: Mapping[str, int], *, now_s: float
    ) -> DispatchResult:
        """Dispatch the due rows within the quota of each queue. due: the first rows of each, one
        more than its quota."""
        result = DispatchResult()
        for queue_id, rows in due.items():
            queue = ScheduledQueue.of(queue_id)
            granted = [row for row in rows[: quotas[queue_id]] if row.due_s <= now_s]
            ready = self._prepare(queue, granted, result, now_s=now_s)
            left = self._assign(queue, ready, result, now_s=now_s)
            later = left[0].row if left else next(iter(rows[len(granted) :]), None)
            result.remainders[queue_id] = QueueAfterDispatch(
                len(granted) > len(left), later.due_s if later else None
            )
        self._congestion.record_assigned(result.express, now_s=now_s)
        return result

    def _prepare(
        self,
        queue: ScheduledQueue,
        rows: Iterable[DueMessage],
        result: DispatchResult,
        *,
        now_s: float,
    ) -> list[AssignableMessage]:
        ready: list[AssignableMessage] = []
        departed = self.scopes.has_departed(queue)
        limited = LimitedSenders(*self.adaptive.limits.limited)
        for row in rows:
            decision = decide_before_assignment(
                row,
                queue,
                dispatch_context=self._context,
                departed=departed,
                limited=limited,
                held_campaign=self.adaptive.campaigns.held,
                now_s=now_s,
            )
            if isinstance(decision, AssignableMessage):
                ready.append(decision)
            elif isinstance(decision, Requeue):
                result.requeues.append(decision)
            elif isinstance(decision, MessageHold):
                result.holds.append(decision)
            else:
                result.closings.append(decision)
        return ready

    def _assign(
        self,
        queue: ScheduledQueue,
        ready: list[AssignableMessage],
        result: DispatchResult,
        *,
        now_s: float,
    ) -> list[AssignableMessage]:
        """Assign as many as have capacity. Returns the others."""
        for source, count in self.scopes.reserve(queue, len(ready), now_s=now_s):
            chosen, ready = ready[:count], ready[count:]
            scope = site_scope(queue, source.egress_id)
            pace = pace_of(self.scopes.ledger.limits_of(scope, now_s=now_s))
            result.assignments += (
                assign(
                    one, source, dispatch_context=self._context, per_second_max=pace, now_s=now_s
                )
                for one in chosen
            )
        return ready

    def undo_assignments(self, assignments: Iterable[Assignment], *, now_s: float) -> None:
        """Undo the reservations of assignments that were not saved."""
        for one in assignments:
            queue = ScheduledQueue.of(one.row.queue_id)
            path = self.scopes.reservation_path(queue, one.egress_id)
            self.scopes.ledger.undo_reservation(path, 1, now_s=now_s)
            self.scopes.sources.restore(one.egress_id, queue.site)

    def finish_round(
        self,
        active: Sequence[ActiveQueue],
        allocation: AllocatedQuotas,
        result: DispatchResult,
        *,
        is_complete: bool,
        now_s: float,
    ) -> Round:
        """The next state of each active queue. is_complete: all active queues were read."""
        self._queue_turns.record(active, result.remainders)
        finished = finish_round(
            active,
            result.remainders,
            blocked=allocation.blocked,
            as_blocked=partial(self.scopes.as_blocked, capacities={}, now_s=now_s),
            recent=self._recent,
            is_complete=is_complete,
            now_s=now_s,
        )
        for one in finished.blocked:
            self.blocking.add(one.scope, one.capacity.available_at_s, now_s=now_s)
        self._next_due_s, self._express_due_s = finished.next_due_s, finished.express_due_s
        if result.requeues:  # their new queues have work
            self._next_due_s = self._express_due_s = now_s
        return finished

    def counters_to_save(self, *, now_s: float) -> list[CounterRow]:
        """The counters to save with the assignments; with inf, all that have changed."""
        return self.scopes.ledger.drain_changes(now_s)

    # ── after a tick ────────────────────────────────────────────────────────────────────────────

    def queues_to_unblock(self, *, now_s: float) -> QueuesToUnblock:
        """Of the waiting scopes that may have capacity now: k free places unblock k queues. Of a
        scope whose counters are not loaded, one queue is, with which they are: another cell may
        have the tenant."""
        due = self.blocking.pop_due(now_s, limit=CHECKED_MAX)
        unloaded = set(self.scopes.ledger.unloaded(due))
        to_unblock = QueuesToUnblock(dict.fromkeys(unloaded, 1), self._changed_tenants)
        self._changed_tenants = set()
        for scope in (one for one in due if one not in unloaded):
            capacity = self.scopes.capacity(scope, now_s=now_s, wanted=UNBLOCKED_MAX)
            if capacity.available > 0:
                to_unblock.counts[scope] = min(capacity.available, UNBLOCKED_MAX)
            else:
                self.blocking.add(scope, capacity.available_at_s, now_s=now_s)
        return to_unblock

    def record_unblocked(
        self, to_unblock: QueuesToUnblock, unblocked: Mapping[LimitScope, int], *, now_s: float
    ) -> None:
        """unblocked: queues of each scope that were unblocked. If there were as many as wanted,
        there may be more, which the next tick decides."""
        for scope, count in to_unblock.counts.items():
            if unblocked.get(scope, 0) >= count:
                self.blocking.add(scope, now_s, now_s=now_s)

    def next_work_s(self, *, express_only: bool = False) -> float:
        """When there is something to do; new work may arrive earlier. express_only: see `plan`."""
        blocking_s = self.blocking.next_s()
        due_s = self._express_due_s if express_only else self._next_due_s
        return min(due_s, inf if blocking_s is None else blocking_s)
