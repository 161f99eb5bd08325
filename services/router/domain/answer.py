"""What an answer of delivery makes of a message: the table of the architecture, row by row."""

from dataclasses import dataclass
from typing import NamedTuple

from contracts.delivery.v1.events_pb2 import (
    OUTCOME_AMBIGUOUS,
    OUTCOME_DELIVERED,
    OUTCOME_PERMANENT,
    OUTCOME_STALE,
    DeliveryAttempted,
)
from contracts.router.v1.events_pb2 import MessageClosed, MessageDelayed
from mail import bounce
from services.router.domain.facts import bounded, delayed, timestamp
from services.router.domain.message import CLOSED, Assigned, State
from services.router.domain.retry import RetryPolicy

GREYLISTED = "greylisted"


class Strike(NamedTuple):
    """A bounce that speaks against an address; `strikes` of them suppress it."""

    tenant_id: str
    address_hash: bytes
    address: str
    kind: str
    strikes: int
    message_id: str


@dataclass(frozen=True, slots=True)
class Move:
    """Where the row goes, where state is still assigned and attempt is still this one."""

    row: Assigned
    state: State
    tries: int
    due_s: float
    reason: str
    ambiguous: bool
    connected: bool
    reply: bytes
    bounce_class: str
    event: MessageClosed | MessageDelayed | None
    strike: Strike | None = None


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """ambiguous_fails: the tenant would rather lose a message than send it twice."""

    retry: RetryPolicy
    ambiguous_fails: bool = False


def settle(row: Assigned, event: DeliveryAttempted, *, now_s: float, policy: AnswerPolicy) -> Move:
    """event: of exactly this attempt."""
    if event.outcome == OUTCOME_DELIVERED:
        return close(row, event, State.DELIVERED, reason="", now_s=now_s)
    if event.outcome == OUTCOME_PERMANENT:
        return refused(row, event, now_s=now_s)
    if event.outcome == OUTCOME_STALE:
        return again(row, event, due_s=now_s, reason="stale", tries=row.tries)
    if event.outcome == OUTCOME_AMBIGUOUS and policy.ambiguous_fails:
        return close(row, event, State.FAILED, reason="ambiguous", now_s=now_s)
    if now_s >= row.expires_s:
        return close(row, event, State.BOUNCED, reason="expired", now_s=now_s)
    return retried(row, event, now_s=now_s, policy=policy.retry)


def refused(row: Assigned, event: DeliveryAttempted, *, now_s: float) -> Move:
    """Nobody said no where there is no reply: then it failed (a private address, say)."""
    if event.reply.code == 0 and not event.connected:
        reason = event.bounce_class or event.reply.text or "undeliverable"
        return close(row, event, State.FAILED, reason=reason[:200], now_s=now_s)
    return close(row, event, State.BOUNCED, reason="hard_bounce", now_s=now_s)


def retried(row: Assigned, event: DeliveryAttempted, *, now_s: float, policy: RetryPolicy) -> Move:
    """Refused for now, or perhaps delivered: greylisting is no try."""
    if event.bounce_class == GREYLISTED:
        tries, delay_s = (
            row.tries,
            policy.greylisted_delay_s(message_id=row.message_id, attempt=row.attempt),
        )
        reason = GREYLISTED
    else:
        tries = row.tries + 1
        delay_s = policy.delay_s(tries, message_id=row.message_id, attempt=row.attempt)
        reason = "ambiguous" if is_ambiguous(event) else "retry"
    return again(row, event, due_s=now_s + delay_s, reason=reason, tries=tries)


def again(
    row: Assigned, event: DeliveryAttempted, *, due_s: float, reason: str, tries: int
) -> Move:
    """Waiting once more; told only where somebody answered."""
    stale = event.outcome == OUTCOME_STALE
    ambiguous = row.ambiguous or is_ambiguous(event)
    told = None if stale else delayed(event, tries=tries, next_s=due_s, ambiguous=ambiguous)
    return Move(
        row,
        State.WAITING,
        tries=tries,
        due_s=due_s,
        reason=reason,
        ambiguous=ambiguous,
        connected=event.connected,
        reply=b"" if stale else bounded(event.reply),
        bounce_class=event.bounce_class,
        event=told,
    )


def close(
    row: Assigned, event: DeliveryAttempted, state: State, *, reason: str, now_s: float
) -> Move:
    ambiguous = row.ambiguous or is_ambiguous(event)
    tries = row.tries + 1
    told = MessageClosed(
        message_id=row.message_id,
        tenant_id=event.tenant_id,
        email_id=event.email_id,
        recipient=event.recipient,
        state=CLOSED[state],
        reason=reason,
        reply=event.reply if event.HasField("reply") else None,
        bounce_class=event.bounce_class,
        attempt=row.attempt,
        ambiguous=ambiguous,
        test=event.test,
        closed_at=timestamp(now_s),
    )
    return Move(
        row,
        state,
        tries=tries,
        due_s=now_s,
        reason=reason,
        ambiguous=ambiguous,
        connected=event.connected,
        reply=bounded(event.reply),
        bounce_class=event.bounce_class,
        event=told,
        strike=strike(row, event) if state is State.BOUNCED else None,
    )


def strike(row: Assigned, event: DeliveryAttempted) -> Strike | None:
    """By class, never by code; never for test mail."""
    if event.test or not event.bounce_class:
        return None
    return strike_of(
        event.bounce_class,
        tenant_id=event.tenant_id,
        address_hash=row.address_hash,
        address=event.recipient,
        message_id=row.message_id,
    )


def strike_of(
    bounce_class: str, *, tenant_id: str, address_hash: bytes, address: str, message_id: str
) -> Strike | None:
    try:
        strikes = bounce.named(bounce_class).suppress_after
    except KeyError:  # a class of a newer delivery: not known to suppress
        return None
    if not strikes:
        return None
    return Strike(tenant_id, address_hash, address, bounce_class, strikes, message_id)


def is_ambiguous(event: DeliveryAttempted) -> bool:
    return event.ambiguous or event.outcome == OUTCOME_AMBIGUOUS
