"""Dispatch due messages: assign, suppress, requeue or postpone them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from mail.address import domain_of, user_of
from services.router.domain.events import timestamp
from services.router.domain.message import (
    SANDBOX,
    UNRESOLVED,
    CloseTransition,
    DueMessage,
    ScheduledQueue,
    State,
)
from services.router.domain.routes import Route
from services.router.domain.scopes import EgressSource, LimitScopes
from services.router.domain.shaping import SiteLimits

SANDBOX_SOURCE = EgressSource(SANDBOX, "", "", "")
STICKY_RETRY_S = 1.0  # delay of a retry whose source has no capacity


class Assignment(NamedTuple):
    """stored_event: the event without its context, which the row already has."""

    row: DueMessage
    egress_id: str
    not_after_s: float
    stored_event: bytes
    event: DeliveryAssigned


class Requeue(NamedTuple):
    """A queued row that moves to another queue, or to a later time."""

    row: DueMessage
    queue: ScheduledQueue
    due_s: float
    reason: str


@dataclass(slots=True)
class DispatchResult:
    assignments: list[Assignment] = field(default_factory=list)
    closings: list[CloseTransition] = field(default_factory=list)
    requeues: list[Requeue] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DispatchContext:
    """The inputs of every dispatch decision, besides the row.

    route_of: the known route of a domain, or None. valid_s: time from an assignment to `not_after`.
    """

    scopes: LimitScopes
    route_of: Callable[[str], Route | None]
    sandbox: Route
    ehlo: str
    valid_s: float


def dispatch(
    rows: Iterable[DueMessage], dispatch_context: DispatchContext, *, now_s: float
) -> DispatchResult:
    """Dispatch due rows that fit the allocated capacities. If the context of a row cannot be
    parsed, only that row fails."""
    result = DispatchResult()
    spends: dict[str, QueueSpend] = {}
    by_pool: dict[str, SourceCapacities] = {}
    for row in rows:
        if (spend := spends.get(row.queue_id)) is None:
            spend = spends[row.queue_id] = QueueSpend.of(
                ScheduledQueue.of(row.queue_id), dispatch_context, by_pool, now_s=now_s
            )
        try:
            context = MessageContext.FromString(row.context)
        except DecodeError:
            result.closings.append(close_transition(row, State.FAILED, reason="unreadable"))
            continue
        if is_suppressed(row, context):
            result.closings.append(close_transition(row, State.SUPPRESSED, reason="suppressed"))
            continue
        assign_or_requeue(
            row, context, spend=spend, result=result, dispatch_context=dispatch_context, now_s=now_s
        )
    spend_capacity(spends.values(), dispatch_context.scopes, now_s=now_s)
    return result


def is_suppressed(row: DueMessage, context: MessageContext) -> bool:
    """Test mail ignores the suppression list; one test address always counts as suppressed."""
    if context.test:
        return user_of(context.recipient) == "suppressed"
    return row.is_suppressed


def spend_capacity(spends: Iterable["QueueSpend"], scopes: LimitScopes, *, now_s: float) -> None:
    """Spend the capacity that all queues used, summed per tenant."""
    tenants: Counter[str] = Counter()
    for spend in spends:
        for egress_id, number in spend.spent.items():
            scopes.spend_source(egress_id, spend.queue.site, number=number, now_s=now_s)
            tenants[spend.queue.tenant_id] += number
    for tenant_id, number in tenants.items():
        scopes.spend_tenant(tenant_id, number=number, now_s=now_s)


def assign_or_requeue(
    row: DueMessage,
    context: MessageContext,
    *,
    spend: "QueueSpend",
    result: DispatchResult,
    dispatch_context: DispatchContext,
    now_s: float,
) -> None:
    """Assign the row, or move it to the queue of its route."""
    queue = spend.queue
    domain = domain_of(context.recipient)
    route = dispatch_context.sandbox if context.test else dispatch_context.route_of(domain)
    if route is None:
        unresolved = queue._replace(site=UNRESOLVED, domain=domain)
        result.requeues.append(Requeue(row, unresolved, now_s, "dns"))
    elif route.site != queue.site:
        result.requeues.append(Requeue(row, queue._replace(site=route.site), now_s, ""))
    elif egress := spend.choose_source(row.egress_id):
        assignment = assign(
            row, context, route=route, egress=egress, dispatch_context=dispatch_context, now_s=now_s
        )
        result.assignments.append(assignment)
    else:
        result.requeues.append(Requeue(row, queue, now_s + STICKY_RETRY_S, "egress_window"))


SourceCapacities = list[tuple[EgressSource, int]]


@dataclass(slots=True)
class QueueSpend:
    """The capacity that one queue uses in this tick: counted row by row, spent once.

    capacities: of each egress source, shared by all queues of a pool and site; None: unlimited
    (the sandbox).
    """

    queue: ScheduledQueue
    capacities: SourceCapacities | None
    spent: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        queue: ScheduledQueue,
        dispatch_context: DispatchContext,
        by_pool: dict[str, SourceCapacities],
        *,
        now_s: float,
    ) -> "QueueSpend":
        """by_pool: the capacities that remain, by the scope of a pool at a site."""
        if queue.site == SANDBOX:
            return cls(queue, None)
        *_, pool_scope = dispatch_context.scopes.scopes_of(queue)
        if pool_scope not in by_pool:
            by_pool[pool_scope] = dispatch_context.scopes.source_capacities(queue, now_s=now_s)
        return cls(queue, by_pool[pool_scope])

    def choose_source(self, sticky_id: str) -> EgressSource | None:
        """The source of the previous attempt if it is still in the pool, else the source with the
        most capacity. None if the chosen source has no capacity.
        """
        if self.capacities is None:
            return SANDBOX_SOURCE
        chosen = -1
        for index, (egress, available) in enumerate(self.capacities):
            if egress.egress_id == sticky_id:
                chosen = index
                break
            if chosen < 0 or available > self.capacities[chosen][1]:
                chosen = index
        if chosen < 0 or self.capacities[chosen][1] <= 0:
            return None
        egress, available = self.capacities[chosen]
        self.capacities[chosen] = (egress, available - 1)
        self.spent[egress.egress_id] = self.spent.get(egress.egress_id, 0) + 1
        return egress


def close_transition(row: DueMessage, state: State, *, reason: str) -> CloseTransition:
    return CloseTransition(
        row.message_id,
        from_state=State.QUEUED,
        attempt=row.attempt,
        state=state,
        reason=reason,
        ambiguous=row.ambiguous,
        context=row.context,
    )


def assign(
    row: DueMessage,
    context: MessageContext,
    *,
    route: Route,
    egress: EgressSource,
    dispatch_context: DispatchContext,
    now_s: float,
) -> Assignment:
    not_after_s = max(now_s, min(now_s + dispatch_context.valid_s, row.expires_s))
    site_limits = dispatch_context.scopes.site_limits_of(route.site)
    stored_event = assignment_template(
        egress, route, ehlo=dispatch_context.ehlo, site_limits=site_limits
    ) + not_after_field(not_after_s)
    event = DeliveryAssigned.FromString(stored_event)
    event.message_id = row.message_id
    event.attempt = row.attempt + 1
    event.attempt_count = row.attempt_count
    event.ambiguous = row.ambiguous
    event.context.CopyFrom(context)
    return Assignment(row, egress.egress_id, not_after_s, stored_event, event)


@lru_cache(maxsize=10_000)
def assignment_template(
    egress: EgressSource, route: Route, *, ehlo: str, site_limits: SiteLimits
) -> bytes:
    """The fields that assignments from one source to one route share, serialized."""
    return DeliveryAssigned(
        egress_id=egress.egress_id,
        site=route.site,
        source_ip=egress.source_ip,
        source_ipv6=egress.source_ipv6,
        ehlo=egress.ehlo or ehlo,
        mx_hosts=[
            MxHost(host=host, preference=preference, port=port)
            for host, preference, port in route.mx_hosts
        ],
        connections_max=site_limits.connections_max,
        messages_per_connection_max=site_limits.messages_per_connection_max,
    ).SerializeToString()


@lru_cache(maxsize=1)
def not_after_field(not_after_s: float) -> bytes:
    """The last field of an assignment, serialized; concatenated protobuf bytes parse as one
    message. It is the same for all messages of a tick, except those that expire earlier."""
    return DeliveryAssigned(not_after=timestamp(not_after_s)).SerializeToString()
