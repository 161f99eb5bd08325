"""A cell with its rows in memory: the scheduler of a simulation, without database and clock."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED, AttemptOutcome
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.policies_pb2 import PolicyEvent
from contracts.router.v1.results_pb2 import RESULT_KIND_ATTEMPT, Result
from services.router.domain.cell import Cell
from services.router.domain.counters import CounterRow
from services.router.domain.deficit_round_robin import ActiveQueue, BlockedQueue
from services.router.domain.dispatch import Assignment, DispatchContext
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp
from services.router.domain.ledger import LOADED_ON_DEMAND, LimitScope
from services.router.domain.limits import Limits
from services.router.domain.message import DueMessage, ScheduledQueue
from services.router.domain.policies import (
    DEFAULT_POOL,
    PolicySource,
    ShapingPolicies,
    TenantPolicies,
    TenantRouting,
)
from services.router.domain.policy_changes import PolicyCounts
from services.router.domain.policy_engine import AdaptivePolicies, AdaptivePolicyRules
from services.router.domain.policy_events import to_stored
from services.router.domain.results import InFlightCount
from services.router.domain.routes import MxHost, Route
from services.router.domain.shaping import ShapingRules, SiteLimits
from services.router.loops.tenant_claims import tenants_of

NOW_S = 1_795_000_000.0
TENANT = "019ab000-0000-7000-8000-00000000000a"
SANDBOX_ROUTE = Route("sandbox", (MxHost("127.0.0.1", 0, 8027),))


@dataclass(slots=True)
class QueueRow:
    """The row of a queue, as in the database."""

    next_s: float | None = None
    version: int = 1
    blocked: BlockedQueue | None = None

    def add_work(self, due_s: float) -> None:
        self.version += 1
        if self.blocked is None:
            self.next_s = due_s if self.next_s is None else min(self.next_s, due_s)

    def unblock(self, now_s: float) -> None:
        self.next_s, self.blocked = now_s, None


@dataclass(slots=True)
class PolicyRows:
    """The tables of warmups, overrides and standings. published: the events, in order."""

    latest: dict[str, bytes] = field(default_factory=dict)
    counts: dict[str, PolicyCounts] = field(default_factory=dict)
    published: list[Message] = field(default_factory=list)

    def save(self, adaptive: AdaptivePolicies, now_s: float) -> None:
        changes = adaptive.drain(now_s)
        self.latest |= dict(map(to_stored, changes.events))
        self.published += changes.events
        self.counts |= {one.subject: one for one in changes.counts}

    def load(self, adaptive: AdaptivePolicies) -> None:
        adaptive.load(PolicyEvent.FromString(row) for row in self.latest.values())
        adaptive.restore_counts(self.counts.values())


@dataclass
class MemoryCell:
    """route_of: the route of a domain. changed: rows that were written, besides assignments."""

    new_cell: Callable[[], Cell]
    sources: list[EgressSource]
    queues_max: int = 1000
    overflow_pools: dict[str, str] = field(default_factory=dict)
    queues: dict[str, QueueRow] = field(default_factory=lambda: defaultdict(QueueRow))
    rows: dict[str, dict[str, DueMessage]] = field(default_factory=lambda: defaultdict(dict))
    assigned: dict[str, Assignment] = field(default_factory=dict)
    counters: dict[tuple[str, str], CounterRow] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    policies: PolicyRows = field(default_factory=PolicyRows)
    requeued: int = 0

    def __post_init__(self) -> None:
        self.take_over(NOW_S)

    def take_over(self, now_s: float) -> None:
        """Another scheduler loads the cell from the rows."""
        self.cell = self.new_cell()
        kept = {key: row for key, row in self.counters.items() if row.expires_s > now_s}
        self.counters = kept
        self.cell.load(
            row
            for row in kept.values()
            if (scope := LimitScope.of(row.scope)) and scope.kind not in LOADED_ON_DEMAND
        )
        self.policies.load(self.cell.adaptive)
        self.cell.load_blocking_scopes(
            {row.blocked.scope for row in self.queues.values() if row.blocked}
        )
        self.cell.replace_sources(self.sources, self.overflow_pools, now_s=now_s)
        self.cell.load_in_flight(
            InFlightCount(one.row.queue_id, one.egress_id, 1) for one in self.assigned.values()
        )
        self.cell.tenants |= tenants_of([], self.results)
        self._load_counters(self.cell.unloaded([], self.results))
        self.cell.apply_results_before_load(self.results, now_s=now_s)
        self.results = []

    def add(self, row: DueMessage) -> None:
        self.rows[row.queue_id][row.message_id] = row
        self.queues[row.queue_id].add_work(row.due_s)

    def tick(self, now_s: float) -> list[Assignment]:
        cell, results = self.cell, self.results
        self.results = []
        active = self._active(now_s)
        cell.tenants |= tenants_of(active, results)
        self._load_counters(cell.unloaded(active, results))
        cell.apply_results(results, now_s=now_s)
        allocation = cell.plan(active, now_s=now_s)
        due = {
            key: sorted(
                (row for row in self.rows[key].values() if row.due_s >= first_due_s),
                key=lambda row: row.due_s,
            )[: quota + 1]
            for key, quota, first_due_s in cell.to_read(active, allocation.quotas)
        }
        result = cell.dispatch(due, allocation.quotas, now_s=now_s)
        for one in result.assignments:
            del self.rows[one.row.queue_id][one.row.message_id]
            self.assigned[one.row.message_id] = one
        for closing in result.closings:
            for rows in self.rows.values():
                rows.pop(closing.message_id, None)
        finished = cell.finish_round(active, allocation, result, is_complete=True, now_s=now_s)
        for queue, next_s, _ in finished.served:
            self.queues[queue.queue_id].next_s = next_s
        for blocked in finished.blocked:
            row = self.queues[blocked.queue_id]
            row.next_s, row.blocked = None, blocked
        for requeue in result.requeues:
            self.requeued += 1
            del self.rows[requeue.row.queue_id][requeue.row.message_id]
            self.add(requeue.row._replace(queue_id=requeue.queue.queue_id, due_s=requeue.due_s))
        for change in cell.counters_to_save(now_s=now_s):
            self.counters[change.scope, change.window_key] = change
        self.policies.save(cell.adaptive, now_s)
        self._wake(now_s)
        return result.assignments

    def answer(
        self,
        assignment: Assignment,
        *,
        assigned_s: float,
        outcome: "AttemptOutcome.ValueType" = ATTEMPT_OUTCOME_DELIVERED,
        connected: bool = True,
    ) -> None:
        """The result of an attempt arrives, on any replica."""
        del self.assigned[assignment.row.message_id]
        self.results.append(
            Result(
                kind=RESULT_KIND_ATTEMPT,
                queue_id=assignment.row.queue_id,
                egress_id=assignment.egress_id,
                count=1,
                outcome=outcome,
                connected=connected,
                assigned_at=timestamp(assigned_s),
            )
        )

    def _active(self, now_s: float) -> list[ActiveQueue]:
        found = [
            (row.next_s, key, row.version)
            for key, row in self.queues.items()
            if row.next_s is not None and row.next_s <= now_s
        ]
        return [ActiveQueue.of(key, version) for _, key, version in sorted(found)][
            : self.queues_max
        ]

    def _load_counters(self, scopes: Iterable[LimitScope]) -> None:
        keys = {scope.key: scope for scope in scopes}
        rows = sorted(row for row in self.counters.values() if row.scope in keys)
        self.cell.load(rows, keys.values())

    def _wake(self, now_s: float) -> None:
        to_unblock = self.cell.queues_to_unblock(now_s=now_s)
        unblocked: dict[LimitScope, int] = defaultdict(int)
        for key, row in self.queues.items():
            if row.blocked and ScheduledQueue.of(key).tenant_id in to_unblock.tenants:
                row.unblock(now_s)
            elif row.blocked and unblocked[row.blocked.scope] < to_unblock.counts.get(
                row.blocked.scope, 0
            ):
                unblocked[row.blocked.scope] += 1
                row.unblock(now_s)
        self.cell.record_unblocked(to_unblock, unblocked, now_s=now_s)


def sources(*egress_ids: str, pool_id: str = DEFAULT_POOL) -> list[EgressSource]:
    return [EgressSource(one, pool_id, "", "") for one in egress_ids]


def create_cell(
    routing_of: Callable[[str], TenantRouting | None],
    *,
    site_limits: SiteLimits,
    route_of: Callable[[str], Route | None],
    policies: Iterable[PolicySource] = (),
    rules: AdaptivePolicyRules | None = None,
    messages_max: int = 500,
    limits_mailbox: Callable[[str], bool] = lambda _: False,
) -> Cell:
    """A cell without usage, sources and queues."""
    shaping = ShapingRules(site_limits, {})

    def pool_of(tenant_id: str) -> str:
        found = routing_of(tenant_id)
        return found.pool_id if found else DEFAULT_POOL

    context = DispatchContext(
        route_of=route_of,
        pool_of=pool_of,
        shaping=shaping,
        sandbox=SANDBOX_ROUTE,
        ehlo="mail.test",
        valid_s=120.0,
        limits_mailbox=limits_mailbox,
        feedback_sites=rules.complaint_domain_sites if rules else (),
    )
    combined: list[PolicySource] = [TenantPolicies(routing_of), ShapingPolicies(shaping)]
    return Cell(
        [*combined, *policies],
        context,
        adaptive=AdaptivePolicies(rules),
        messages_max=messages_max,
    )


def memory_cell(
    *egress_ids: str,
    site_limits: SiteLimits | None = None,
    tenant_limits: Limits | None = None,
    policies: Iterable[PolicySource] = (),
    rules: AdaptivePolicyRules | None = None,
    routing: Callable[[str], TenantRouting | None] | None = None,
    route_of: Callable[[str], Route | None] | None = None,
    messages_max: int = 500,
    queues_max: int = 1000,
    limits_mailbox: Callable[[str], bool] = lambda _: False,
) -> MemoryCell:
    """A cell with one pool. Each domain is a site of its own, unless route_of is given."""
    new_cell = partial(
        create_cell,
        routing or (lambda _: TenantRouting(tenant_limits or Limits())),
        site_limits=site_limits or SiteLimits(10),
        route_of=route_of or (lambda domain: Route(domain, (MxHost(f"mx.{domain}", 10, 0),))),
        policies=policies,
        rules=rules,
        messages_max=messages_max,
        limits_mailbox=limits_mailbox,
    )
    return MemoryCell(new_cell, sources(*(egress_ids or ("e1",))), queues_max=queues_max)


def due_message(
    number: int = 1,
    *,
    site: str = "site",
    tenant: str = TENANT,
    egress_id: str = "",
    test: bool = False,
    to: str = "",
    key: str = "",
    mailbox: str = "",
    due_s: float = NOW_S - 1,
    **extra: object,
) -> DueMessage:
    """A row in the queue of its tenant and site."""
    recipient = to or f"ann@{site}"
    context = MessageContext(
        message_id=f"m{number}",
        recipient=recipient,
        tenant_id=tenant,
        test=test,
        api_key_id=key,
        mailbox_id=mailbox,
    )
    due = DueMessage(
        message_id=f"m{number}",
        queue_id=ScheduledQueue(tenant, site, egress_id=egress_id).queue_id,
        due_s=due_s,
        expires_s=due_s + 72 * 3600,
        attempt=0,
        attempt_count=0,
        egress_id=egress_id,
        ambiguous=False,
        suppressed_by=None,
        context=context.SerializeToString(),
    )
    return due._replace(**extra)  # type: ignore[arg-type]
