"""Results: what handlers on any replica report to the scheduler, the only writer of counters."""

from collections.abc import Iterable
from typing import NamedTuple

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
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
    Results,
)
from services.router.domain.events import timestamp
from services.router.domain.transitions import AppliedTransition

REPLY_TEXT_MAX = 256


class InFlight(NamedTuple):
    """Number of assignments without a result, of one queue and egress source."""

    queue_id: str
    egress_id: str
    number: int


class SentFrom(NamedTuple):
    """Where a message left."""

    message_id: str
    queue_id: str
    egress_id: str


def attempt_results(
    applied: Iterable[tuple[DeliveryAttempted, AppliedTransition]],
) -> Results:
    """The results of attempts, counted together where nothing but their time differs."""
    grouped: dict[tuple[object, ...], Result] = {}
    for event, row in applied:
        reply = None if event.outcome == ATTEMPT_OUTCOME_DELIVERED else event.reply
        key: tuple[object, ...] = (
            *(row.queue_id, row.egress_id, row.assigned_s, event.outcome, event.connected),
        )
        if reply is not None:
            key = (*key, event.bounce_class, reply.mx, reply.code, reply.enhanced, reply.text)
        else:
            key = (*key, event.reply.mx)
        if (result := grouped.get(key)) is None:
            result = grouped[key] = new_attempt_result(event, row, reply)
        result.count += 1
        if event.attempted_at.ToNanoseconds() > result.answered_at.ToNanoseconds():
            result.answered_at.CopyFrom(event.attempted_at)
    return Results(results=grouped.values())


def new_attempt_result(
    event: DeliveryAttempted, row: AppliedTransition, reply: Reply | None
) -> Result:
    result = Result(
        kind=RESULT_KIND_ATTEMPT,
        queue_id=row.queue_id,
        egress_id=row.egress_id,
        outcome=event.outcome,
        connected=event.connected,
        assigned_at=timestamp(row.assigned_s),
        mx_host=event.reply.mx,
        bounce_class=event.bounce_class,
    )
    if reply is not None:
        add_reply(result, reply)
    return result


def add_reply(result: Result, reply: Reply) -> None:
    result.code, result.enhanced, result.step = reply.code, reply.enhanced, reply.step
    result.reply_text = reply.text[:REPLY_TEXT_MAX]


def mail_result(event: BounceReceived | ComplaintReceived, sent: SentFrom) -> Result:
    """A bounce or complaint that arrived as mail."""
    result = Result(
        kind=RESULT_KIND_COMPLAINT,
        queue_id=sent.queue_id,
        egress_id=sent.egress_id,
        count=1,
        connected=True,
        answered_at=event.received_at,
    )
    if isinstance(event, BounceReceived):
        result.kind, result.bounce_class = RESULT_KIND_BOUNCE, event.bounce_class
        result.mx_host = event.reply.mx
        add_reply(result, event.reply)
    return result
