"""Decisions about due messages: assign, suppress, requeue or leave them in their queue."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, MessageContext, Priority
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageHeld, MxHost
from contracts.shield.v1.learning_pb2 import CampaignAssessed
from mail.address import domain_of, user_without_detail
from services.router.domain.campaigns import hold_reason
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp
from services.router.domain.limits import Limits
from services.router.domain.message import (
    UNRESOLVED,
    CloseTransition,
    DueMessage,
    MessageRowState,
    ScheduledQueue,
)
from services.router.domain.reasons import WaitReason
from services.router.domain.routes import Route
from services.router.domain.shaping import ShapingRules, SiteLimits
from services.router.domain.suppressions import deciding_origin


class LimitedSenders(NamedTuple):
    """API keys and mailboxes with limits that operators have set."""

    keys: Collection[str] = ()
    mailboxes: Collection[str] = ()


class Assignment(NamedTuple):
    """stored_event: the event without its context, which the row already has."""

    row: DueMessage
    egress_id: str
    not_after_s: float
    stored_event: bytes
    event: DeliveryAssigned


class Requeue(NamedTuple):
    """A queued row that moves to another queue."""

    row: DueMessage
    queue: ScheduledQueue
    due_s: float
    reason: str


class MessageHold(NamedTuple):
    """A queued row that waits for a review from now on."""

    row: DueMessage
    reason: str
    context: MessageContext

    def event_at(self, now_s: float) -> MessageHeld:
        return MessageHeld(
            message_id=self.row.message_id,
            context=self.context,
            detail=self.reason,
            held_at=timestamp(now_s),
            attempt=self.row.attempt,
        )


class QueueAfterDispatch(NamedTuple):
    """due_s: when the next row of a queue is due; None: it is empty. was_served: a row has left."""

    was_served: bool
    due_s: float | None


@dataclass(slots=True)
class DispatchResult:
    """remainders: of the queues whose rows were read, by queue id."""

    assignments: list[Assignment] = field(default_factory=list)
    holds: list[MessageHold] = field(default_factory=list)
    closings: list[CloseTransition] = field(default_factory=list)
    requeues: list[Requeue] = field(default_factory=list)
    remainders: dict[str, QueueAfterDispatch] = field(default_factory=dict)

    @property
    def express(self) -> int:
        """Number of assignments that are not of bulk mail."""
        return sum(one.event.priority != PRIORITY_BULK for one in self.assignments)


@dataclass(frozen=True, slots=True)
class DispatchContext:
    """The inputs of every dispatch decision, besides the row.

    route_of: the known route of a domain, or None. pool_of: the pool of a tenant.
    valid_s: time from an assignment to `not_after`. feedback_sites: those that know senders by a
    DKIM domain, in their feedback loop. limits_mailbox: whether the tenant of a mailbox
    has limited it.
    """

    route_of: Callable[[str], Route | None]
    pool_of: Callable[[str], str]
    shaping: ShapingRules
    sandbox: Route
    ehlo: str
    valid_s: float
    limits_mailbox: Callable[[str], bool] = lambda _: False
    feedback_sites: Collection[str] = ()


class AssignableMessage(NamedTuple):
    """A due row that may be assigned."""

    row: DueMessage
    context: MessageContext
    route: Route


def decide_before_assignment(
    row: DueMessage,
    queue: ScheduledQueue,
    *,
    dispatch_context: DispatchContext,
    departed: bool,
    limited: LimitedSenders,
    held_campaign: Callable[[str], CampaignAssessed | None],
    now_s: float,
) -> AssignableMessage | CloseTransition | Requeue | MessageHold:
    """Decide all that needs no capacity. If the context of a row cannot be parsed, only that row
    fails. departed: the egress source of the queue is no longer used. limited: senders with
    queues of their own, besides the mailboxes that dispatch_context names. held_campaign: the
    assessment of a campaign, if its mail is held."""
    try:
        context = MessageContext.FromString(row.context)
    except DecodeError:
        return close_transition(row, MessageRowState.FAILED, reason="unreadable")
    if reason := suppression_reason(row, context):
        return close_transition(row, MessageRowState.SUPPRESSED, reason=reason)
    if (held := held_campaign(context.campaign_id)) and not row.reviewed:
        return MessageHold(row, hold_reason(held), context)
    domain = domain_of(context.recipient)
    route = dispatch_context.sandbox if context.test else dispatch_context.route_of(domain)
    egress_id = "" if departed else queue.egress_id
    if route is None:
        unresolved = ScheduledQueue(
            queue.tenant_id, UNRESOLVED, queue.priority, domain, egress_id=egress_id
        )
        return Requeue(row, unresolved, now_s, WaitReason.DNS.value)
    key_id, mailbox_id = limited_sender(context, dispatch_context, limited)
    wanted = queue._replace(
        site=route.site,
        egress_id=egress_id,
        key_id=key_id,
        mailbox_id=mailbox_id,
        campaign_id=context.campaign_id if context.campaign_limited else "",
    )
    if wanted != queue:
        return Requeue(row, wanted, now_s, "")
    return AssignableMessage(row, context, route)


def limited_sender(
    context: MessageContext, dispatch_context: DispatchContext, limited: LimitedSenders
) -> tuple[str, str]:
    """The API key or the mailbox whose queue the message waits in; empty for the common queue."""
    if context.test:
        return "", ""
    key_id, mailbox_id = context.api_key_id, context.mailbox_id
    if mailbox_id in limited.mailboxes or (
        mailbox_id and dispatch_context.limits_mailbox(mailbox_id)
    ):
        return "", mailbox_id
    return (key_id, "") if key_id in limited.keys else ("", "")


def suppression_reason(row: DueMessage, context: MessageContext) -> str:
    """Empty for a message that may be sent. Test mail ignores the suppression list; one test
    address always counts as suppressed."""
    if context.test:
        return "suppressed" * (user_without_detail(context.recipient) == "suppressed")
    origin = deciding_origin(row.suppressed_by, broadcast=context.broadcast)
    return f"suppressed: {origin}" if origin else ""


def close_transition(row: DueMessage, state: MessageRowState, *, reason: str) -> CloseTransition:
    return CloseTransition(
        row.message_id,
        from_state=MessageRowState.QUEUED,
        attempt=row.attempt,
        state=state,
        reason=reason,
        ambiguous=row.ambiguous,
        context=row.context,
    )


def assign(
    ready: AssignableMessage,
    egress: EgressSource,
    *,
    dispatch_context: DispatchContext,
    per_second_max: float,
    now_s: float,
) -> Assignment:
    """per_second_max: the pace of the egress source at the site."""
    row, context, route = ready
    not_after_s = max(now_s, min(now_s + dispatch_context.valid_s, row.expires_s))
    stored_event = assignment_template(
        egress,
        route,
        ehlo=dispatch_context.ehlo,
        signs_for_feedback=route.site in dispatch_context.feedback_sites,
        site_limits=dispatch_context.shaping.of(route.site),
        per_second_max=per_second_max,
        priority=context.priority,
    ) + time_fields(now_s, not_after_s)
    event = DeliveryAssigned.FromString(stored_event)
    event.message_id = row.message_id
    event.attempt = row.attempt + 1
    event.attempt_count = row.attempt_count
    event.ambiguous = row.ambiguous
    event.context.CopyFrom(context)
    return Assignment(row, egress.egress_id, not_after_s, stored_event, event)


def pace_of(limits: Limits) -> float:
    """Messages per second that delivery may send; 0: no limit."""
    rates = (limits.per_second, limits.per_minute / 60)
    return min((rate for rate in rates if rate), default=0.0)


@lru_cache(maxsize=10_000)
def assignment_template(
    egress: EgressSource,
    route: Route,
    *,
    ehlo: str,
    signs_for_feedback: bool,
    site_limits: SiteLimits,
    per_second_max: float,
    priority: "Priority.ValueType",
) -> bytes:
    """The fields that assignments from one source to one route share, serialized."""
    return DeliveryAssigned(
        priority=priority,
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
        per_second_max=per_second_max,
        static_route=route.is_static,
        feedback_domain_id=egress.feedback_domain_id if signs_for_feedback else "",
        egress_host=egress.egress_host,
    ).SerializeToString()


@lru_cache(maxsize=1)
def time_fields(now_s: float, not_after_s: float) -> bytes:
    """The last fields of an assignment, serialized; concatenated protobuf bytes parse as one
    message. They are the same for all messages of a tick, except those that expire earlier."""
    times = DeliveryAssigned(assigned_at=timestamp(now_s), not_after=timestamp(not_after_s))
    return times.SerializeToString()
