"""The transition of a message that follows from an attempt result."""

from dataclasses import dataclass
from typing import NamedTuple

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_AMBIGUOUS,
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_EGRESS_FAILED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_STALE,
    DeliveryAttempted,
)
from contracts.ingest.v1.directory_pb2 import AMBIGUOUS_POLICY_FAIL, Tenant
from contracts.router.v1.events_pb2 import MessageClosed, MessageDelayed
from mail import bounce
from services.router.domain.events import message_delayed, serialize_truncated, timestamp
from services.router.domain.message import CELL, CLOSED, AssignedRow, MessageRowState
from services.router.domain.reasons import WaitReason
from services.router.domain.retry import RetryPolicy
from services.router.domain.suppressions import BOUNCE, address_hash

GREYLISTED = "greylisted"  # a bounce class
# Steps before the envelope: a failure there does not use up the retry schedule.
PRE_ENVELOPE_STEPS = frozenset(("dns", "connect", "greeting", "ehlo", "starttls"))
TLS_POLICIES = frozenset(("mta-sts", "dane", "enforced"))  # that forbid clear text
DUE_NOW_S = 0.0  # due at the moment when the transition is saved
# No server saw the message, so it is queued again as if it had not been assigned.
NOT_ATTEMPTED = {
    ATTEMPT_OUTCOME_STALE: WaitReason.STALE,
    ATTEMPT_OUTCOME_EGRESS_FAILED: WaitReason.EGRESS_HOST,
}


class Strike(NamedTuple):
    """A bounce, complaint or unsubscribe that counts towards a suppression. suppress_after: strikes
    of this kind that suppress. origin, reason, list: of the suppression."""

    tenant_id: str
    address_hash: bytes
    address: str
    kind: str
    suppress_after: int
    message_id: str
    origin: str
    reason: str
    list: str = ""


class Transition(NamedTuple):
    """The next state of a row that is still assigned with the attempt of the event.

    added_attempts: added to the attempt count.
    """

    event: DeliveryAttempted
    state: MessageRowState
    reason: str
    added_attempts: int
    due_s: float
    reply: bytes


class AppliedTransition(NamedTuple):
    """The fields of a row after its transition that its event needs. cell: that assigned it."""

    message_id: str
    attempt: int
    attempt_count: int
    ambiguous: bool
    applied_at_s: float
    queue_id: str
    egress_id: str
    assigned_s: float
    cell: str = CELL


@dataclass(frozen=True, slots=True)
class AttemptPolicy:
    """ambiguous_fails: an ambiguous attempt fails the message instead of risking a duplicate."""

    retry: RetryPolicy
    ambiguous_fails: bool = False


def attempt_policy_of(tenant: Tenant | None, retry: RetryPolicy) -> AttemptPolicy:
    """tenant: None until its record has arrived."""
    fails = tenant is not None and tenant.ambiguous_policy == AMBIGUOUS_POLICY_FAIL
    return AttemptPolicy(retry, ambiguous_fails=fails)


def decide_from_event(event: DeliveryAttempted) -> Transition | None:
    """The transition that the event alone decides; None if it depends on the row."""
    if event.outcome == ATTEMPT_OUTCOME_DELIVERED:
        return close(event, MessageRowState.DELIVERED, reason="")
    if event.outcome == ATTEMPT_OUTCOME_PERMANENT:
        return close_refused(event)
    if reason := NOT_ATTEMPTED.get(event.outcome):
        return Transition(
            event, MessageRowState.QUEUED, reason, added_attempts=0, due_s=DUE_NOW_S, reply=b""
        )
    return None


def decide(
    event: DeliveryAttempted, row: AssignedRow, *, now_s: float, policy: AttemptPolicy
) -> Transition:
    """event: the result of the row's current attempt."""
    if transition := decide_from_event(event):
        return transition
    if event.outcome == ATTEMPT_OUTCOME_AMBIGUOUS and policy.ambiguous_fails:
        return close(event, MessageRowState.FAILED, reason="ambiguous")
    if now_s >= row.expires_s:
        was_attempted = row.attempt_count > 0 or event.reply.step not in PRE_ENVELOPE_STEPS
        return close(
            event,
            MessageRowState.BOUNCED if was_attempted else MessageRowState.FAILED,
            reason="expired",
        )
    return schedule_retry(event, row, now_s=now_s, policy=policy.retry)


def close_refused(event: DeliveryAttempted) -> Transition:
    """Bounced; failed if there was no connection (for example, to a private address)."""
    if event.reply.code == 0 and not event.connected:
        reason = event.bounce_class or event.reply.text or "undeliverable"
        return close(event, MessageRowState.FAILED, reason=reason[:200])
    return close(event, MessageRowState.BOUNCED, reason="hard_bounce")


def schedule_retry(
    event: DeliveryAttempted, row: AssignedRow, *, now_s: float, policy: RetryPolicy
) -> Transition:
    """Retry after a temporary or ambiguous outcome. A failed connection does not use up the retry
    schedule, and neither do the first greylisted attempts; the delay after a failed connection
    grows with the number of attempts that did not count."""
    uncounted = row.attempt - row.attempt_count
    within_max = uncounted <= policy.greylisted_max
    if event.reply.step in PRE_ENVELOPE_STEPS:
        added_attempts, reason = 0, unreachable_reason(event)
        delay_s = policy.delay_s(max(uncounted, 1), message_id=row.message_id, attempt=row.attempt)
    elif event.bounce_class == GREYLISTED and within_max:
        added_attempts, reason = 0, WaitReason.GREYLISTED
        delay_s = policy.greylisted_delay_s(message_id=row.message_id, attempt=row.attempt)
    else:
        added_attempts = 1
        delay_s = policy.delay_s(
            row.attempt_count + 1, message_id=row.message_id, attempt=row.attempt
        )
        reason = WaitReason.AMBIGUOUS if is_ambiguous(event) else WaitReason.RETRY
    return Transition(
        event,
        MessageRowState.QUEUED,
        reason,
        added_attempts=added_attempts,
        due_s=now_s + delay_s,
        reply=serialize_truncated(event.reply),
    )


def unreachable_reason(event: DeliveryAttempted) -> WaitReason:
    """The reason after an attempt that ended before the envelope."""
    reply = event.reply
    if reply.step == "dns":
        return WaitReason.DNS
    refused = reply.step == "starttls" and reply.tls_policy in TLS_POLICIES
    return WaitReason.TLS_REQUIRED if refused else WaitReason.UNREACHABLE


def close(event: DeliveryAttempted, state: MessageRowState, *, reason: str) -> Transition:
    return Transition(
        event,
        state,
        reason,
        added_attempts=1,
        due_s=DUE_NOW_S,
        reply=serialize_truncated(event.reply),
    )


def event_for(
    transition: Transition, applied: AppliedTransition
) -> MessageClosed | MessageDelayed | None:
    """MessageClosed or MessageDelayed; None without an attempt."""
    event = transition.event
    if transition.state is not MessageRowState.QUEUED:
        return closed_event(transition, applied)
    if event.outcome in NOT_ATTEMPTED:
        return None
    return message_delayed(
        event,
        attempt_count=applied.attempt_count,
        next_s=transition.due_s,
        ambiguous=applied.ambiguous,
    )


def closed_event(transition: Transition, applied: AppliedTransition) -> MessageClosed:
    event = transition.event
    return MessageClosed(
        message_id=event.message_id,
        tenant_id=event.tenant_id,
        email_id=event.email_id,
        recipient=event.recipient,
        state=CLOSED[transition.state],
        reason=transition.reason,
        reply=event.reply if event.HasField("reply") else None,
        bounce_class=event.bounce_class,
        attempt=event.attempt,
        ambiguous=applied.ambiguous,
        test=event.test,
        closed_at=timestamp(applied.applied_at_s),
        site=event.site,
    )


def strike_from(transition: Transition) -> Strike | None:
    """The strike of a bounce, by bounce class and never by reply code. Test mail has none."""
    event = transition.event
    if transition.state is not MessageRowState.BOUNCED or event.test or not event.bounce_class:
        return None
    return strike_of(
        event.bounce_class,
        tenant_id=event.tenant_id,
        address_hash=address_hash(event.recipient),
        address=event.recipient,
        message_id=event.message_id,
    )


def strike_of(
    bounce_class: str, *, tenant_id: str, address_hash: bytes, address: str, message_id: str
) -> Strike | None:
    try:
        suppress_after = bounce.class_by_name(bounce_class).suppress_after
    except KeyError:  # a bounce class of a newer delivery, which does not suppress here
        return None
    if not suppress_after:
        return None
    return Strike(
        tenant_id, address_hash, address, bounce_class, suppress_after, message_id,
        origin=BOUNCE, reason=bounce_class,
    )  # fmt: skip


def stays_with_source(event: DeliveryAttempted) -> bool:
    """Whether the next attempt must use the same egress source: the site knows it now, and a
    greylisting server accepts the message from no other."""
    return event.connected and not event.test


def is_ambiguous(event: DeliveryAttempted) -> bool:
    return event.ambiguous or event.outcome == ATTEMPT_OUTCOME_AMBIGUOUS
