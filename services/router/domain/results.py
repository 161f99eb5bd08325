"""Results: what handlers on any replica report to the scheduler, the only writer of counters."""

from collections.abc import Iterable
from typing import NamedTuple

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_AMBIGUOUS,
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_TEMPORARY,
    AttemptOutcome,
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
    Reply,
)
from contracts.router.v1.results_pb2 import (
    RESULT_KIND_ATTEMPT,
    RESULT_KIND_BOUNCE,
    RESULT_KIND_COMPLAINT,
    Result,
    ResultKind,
    Results,
)
from services.router.domain.events import timestamp, unix_s
from services.router.domain.message import CAMPAIGN, ScheduledQueue
from services.router.domain.transitions import AppliedTransition

REPLY_TEXT_MAX = 256
REFUSED = (ATTEMPT_OUTCOME_PERMANENT, ATTEMPT_OUTCOME_TEMPORARY)
# Bounce classes: refusals of the sender, and of an address that does not exist.
REPUTATION_CLASSES = frozenset(("spam_block", "rate_limited"))
INVALID_CLASSES = frozenset(("invalid_recipient", "inactive_mailbox", "bad_domain"))


class InFlightCount(NamedTuple):
    """Number of assignments without a result, of one queue and egress source."""

    queue_id: str
    egress_id: str
    number: int


class LastAssignment(NamedTuple):
    """Where a message left, and when it was last assigned."""

    message_id: str
    queue_id: str
    egress_id: str
    domain_id: str = ""
    assigned_s: float = 0.0
    campaign_id: str = ""


def attempt_results(applied: Iterable[tuple[DeliveryAttempted, AppliedTransition]]) -> Results:
    """The results of attempts, counted together where nothing but their time differs."""
    grouped: dict[tuple[object, ...], list[tuple[DeliveryAttempted, AppliedTransition]]] = {}
    for event, row in applied:
        reply = event.reply
        key: tuple[object, ...] = (row.queue_id, row.egress_id, row.assigned_s, reply.mx)
        key = (*key, event.domain_id)
        if event.outcome != ATTEMPT_OUTCOME_DELIVERED:
            key = (*key, event.outcome, event.connected, event.bounce_class, reply.code)
            key = (*key, reply.enhanced, reply.text)
        grouped.setdefault(key, []).append((event, row))
    return Results(results=map(attempt_result, grouped.values()))


def attempt_result(same: list[tuple[DeliveryAttempted, AppliedTransition]]) -> Result:
    """One result for attempts that differ in nothing but their time."""
    event, row = same[0]
    answered = (one.attempted_at for one, _ in same)
    result = Result(
        kind=RESULT_KIND_ATTEMPT,
        queue_id=row.queue_id,
        egress_id=row.egress_id,
        count=len(same),
        outcome=event.outcome,
        connected=event.connected,
        assigned_at=timestamp(row.assigned_s),
        answered_at=max(answered, key=lambda one: (one.seconds, one.nanos)),
        mx_host=event.reply.mx,
        bounce_class=event.bounce_class,
        domain_id=event.domain_id,
        congested=any(one.congested for one, _ in same),
    )
    if event.outcome != ATTEMPT_OUTCOME_DELIVERED:
        add_reply(result, event.reply)
    return result


def add_reply(result: Result, reply: Reply) -> None:
    result.code, result.enhanced, result.step = reply.code, reply.enhanced, reply.step
    result.reply_text = reply.text[:REPLY_TEXT_MAX]


def result_of_report(event: BounceReceived | ComplaintReceived, sent: LastAssignment) -> Result:
    """A bounce or complaint that arrived as mail."""
    result = Result(
        kind=RESULT_KIND_COMPLAINT,
        queue_id=sent.queue_id,
        egress_id=sent.egress_id,
        count=1,
        connected=True,
        assigned_at=timestamp(sent.assigned_s),
        answered_at=event.received_at,
        domain_id=sent.domain_id,
    )
    if isinstance(event, BounceReceived):
        result.kind, result.bounce_class = RESULT_KIND_BOUNCE, event.bounce_class
        result.mx_host = event.reply.mx
        add_reply(result, event.reply)
    return result


class ObservedResult(NamedTuple):
    """A result as decisions about limits read it: of `count` equal attempts, bounces or complaints.

    mx_host: the host that replied. enhanced_code: as "4.7.28", or ""."""

    tenant_id: str
    site: str
    egress_id: str
    mx_host: str
    assigned_s: float
    answered_s: float
    connected: bool
    outcome: AttemptOutcome.ValueType
    bounce_class: str = ""
    enhanced_code: str = ""
    reply_text: str = ""
    count: int = 1  # type: ignore[assignment] # the method of tuples
    kind: ResultKind.ValueType = RESULT_KIND_ATTEMPT
    domain_id: str = ""

    @classmethod
    def of(cls, result: Result) -> "ObservedResult":
        queue = ScheduledQueue.of(result.queue_id)
        return cls(
            queue.tenant_id,
            queue.site,
            result.egress_id,
            result.mx_host,
            unix_s(result.assigned_at),
            unix_s(result.answered_at),
            result.connected,
            result.outcome,
            result.bounce_class,
            result.enhanced,
            result.reply_text,
            result.count,
            result.kind,
            result.domain_id,
        )

    @property
    def is_delivered(self) -> bool:
        return self.outcome == ATTEMPT_OUTCOME_DELIVERED

    @property
    def is_refused_for_reputation(self) -> bool:
        return self.bounce_class in REPUTATION_CLASSES and (
            self.outcome in REFUSED or self.kind == RESULT_KIND_BOUNCE
        )


def is_report(result: Result) -> bool:
    """A bounce or complaint that arrived as mail."""
    return result.kind != RESULT_KIND_ATTEMPT


def is_refunded(result: Result) -> bool:
    """Whether some scope of its path gets back what was reserved."""
    was_sent = result.outcome in (ATTEMPT_OUTCOME_DELIVERED, ATTEMPT_OUTCOME_AMBIGUOUS)
    return not result.connected or (CAMPAIGN in result.queue_id and not was_sent)
