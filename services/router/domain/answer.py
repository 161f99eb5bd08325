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
from contracts.ingest.v1.directory_pb2 import AMBIGUOUS_POLICY_FAIL, Tenant
from contracts.router.v1.events_pb2 import MessageClosed, MessageDelayed
from mail import bounce
from services.router.domain.arrival import address_hash
from services.router.domain.facts import bounded, delayed, timestamp
from services.router.domain.message import CLOSED, Assigned, State
from services.router.domain.retry import RetryPolicy

GREYLISTED = "greylisted"
UNREACHABLE = "unreachable"
# Steps at which a host has not heard of the message yet: its answer there is no try.
UNREACHED = frozenset(("connect", "greeting", "ehlo", "starttls"))
NOW_S = 0.0  # due at once, whenever it is saved


class Strike(NamedTuple):
    """A bounce that speaks against an address; `strikes` of them suppress it."""

    tenant_id: str
    address_hash: bytes
    address: str
    kind: str
    strikes: int
    message_id: str


class Move(NamedTuple):
    """Where the row goes, where state is still assigned and attempt is still the event's.

    tried: how many tries this adds.
    """

    event: DeliveryAttempted
    state: State
    reason: str
    tried: int
    due_s: float
    reply: bytes


class Moved(NamedTuple):
    """A row after its move: what is told of it needs its tries and its flag, old ones too."""

    message_id: str
    attempt: int
    tries: int
    ambiguous: bool
    moved_s: float


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """ambiguous_fails: the tenant would rather lose a message than send it twice."""

    retry: RetryPolicy
    ambiguous_fails: bool = False


def policy_of(tenant: Tenant | None, retry: RetryPolicy) -> AnswerPolicy:
    """tenant: None while it is not known."""
    fails = tenant is not None and tenant.ambiguous_policy == AMBIGUOUS_POLICY_FAIL
    return AnswerPolicy(retry, ambiguous_fails=fails)


def settle_alone(event: DeliveryAttempted) -> Move | None:
    """What the answer says by itself; None where it takes the row to say."""
    if event.outcome == OUTCOME_DELIVERED:
        return close(event, State.DELIVERED, reason="")
    if event.outcome == OUTCOME_PERMANENT:
        return refused(event)
    if event.outcome == OUTCOME_STALE:
        return Move(event, State.WAITING, "stale", tried=0, due_s=NOW_S, reply=b"")
    return None


def settle(event: DeliveryAttempted, row: Assigned, *, now_s: float, policy: AnswerPolicy) -> Move:
    """event: of exactly this attempt of the row."""
    if move := settle_alone(event):
        return move
    if event.outcome == OUTCOME_AMBIGUOUS and policy.ambiguous_fails:
        return close(event, State.FAILED, reason="ambiguous")
    if now_s >= row.expires_s:
        tried = row.tries > 0 or event.reply.step not in UNREACHED
        return close(event, State.BOUNCED if tried else State.FAILED, reason="expired")
    return retried(event, row, now_s=now_s, policy=policy.retry)


def refused(event: DeliveryAttempted) -> Move:
    """Nobody said no where there is no reply: then it failed (a private address, say)."""
    if event.reply.code == 0 and not event.connected:
        reason = event.bounce_class or event.reply.text or "undeliverable"
        return close(event, State.FAILED, reason=reason[:200])
    return close(event, State.BOUNCED, reason="hard_bounce")


def retried(event: DeliveryAttempted, row: Assigned, *, now_s: float, policy: RetryPolicy) -> Move:
    """Refused for now, or perhaps delivered. Greylisting is no try at first, and a connection that
    did not come about is none: then it is the number of those that makes the wait longer."""
    untried = row.attempt - row.tries
    patient = untried <= policy.greylisted_max
    if event.reply.step in UNREACHED:
        tried, reason = 0, UNREACHABLE
        delay_s = policy.delay_s(max(untried, 1), message_id=row.message_id, attempt=row.attempt)
    elif event.bounce_class == GREYLISTED and patient:
        tried, reason = 0, GREYLISTED
        delay_s = policy.greylisted_delay_s(message_id=row.message_id, attempt=row.attempt)
    else:
        tried = 1
        delay_s = policy.delay_s(row.tries + 1, message_id=row.message_id, attempt=row.attempt)
        reason = "ambiguous" if is_ambiguous(event) else "retry"
    return Move(
        event,
        State.WAITING,
        reason,
        tried=tried,
        due_s=now_s + delay_s,
        reply=bounded(event.reply),
    )


def close(event: DeliveryAttempted, state: State, *, reason: str) -> Move:
    return Move(event, state, reason, tried=1, due_s=NOW_S, reply=bounded(event.reply))


def told(move: Move, moved: Moved) -> MessageClosed | MessageDelayed | None:
    """The end; or that it waits once more, where somebody answered."""
    event = move.event
    if move.state is not State.WAITING:
        return ended(move, moved)
    if event.outcome == OUTCOME_STALE:
        return None
    return delayed(event, tries=moved.tries, next_s=move.due_s, ambiguous=moved.ambiguous)


def ended(move: Move, moved: Moved) -> MessageClosed:
    event = move.event
    return MessageClosed(
        message_id=event.message_id,
        tenant_id=event.tenant_id,
        email_id=event.email_id,
        recipient=event.recipient,
        state=CLOSED[move.state],
        reason=move.reason,
        reply=event.reply if event.HasField("reply") else None,
        bounce_class=event.bounce_class,
        attempt=event.attempt,
        ambiguous=moved.ambiguous,
        test=event.test,
        closed_at=timestamp(moved.moved_s),
    )


def strike(move: Move) -> Strike | None:
    """By class, never by code; never for test mail."""
    event = move.event
    if move.state is not State.BOUNCED or event.test or not event.bounce_class:
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
        strikes = bounce.named(bounce_class).suppress_after
    except KeyError:  # a class of a newer delivery: not known to suppress
        return None
    if not strikes:
        return None
    return Strike(tenant_id, address_hash, address, bounce_class, strikes, message_id)


def is_ambiguous(event: DeliveryAttempted) -> bool:
    return event.ambiguous or event.outcome == OUTCOME_AMBIGUOUS
