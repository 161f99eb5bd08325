"""What becomes of a message that was screened."""

from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import MESSAGE_CLASS_BULK, Envelope
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.shield.v1.events_pb2 import VERDICT_BLOCK, VERDICT_PASS, MessageScreened
from mail.address import domain_of
from services.router.domain.facts import Final, closed, seconds
from services.router.domain.message import RESOLVING, SANDBOX, Lane, State

LIFETIME_S = 72 * 3600.0
ADDRESS_HASH_BYTES = 16
REASON_MAX = 500


class Arrival(NamedTuple):
    """A row to insert, or to fill an expected one with."""

    message_id: str
    tenant_id: str
    email_id: str
    lane: str
    site: str
    state: State
    reason: str
    due_s: float
    expires_s: float
    address_hash: bytes
    test: bool
    envelope: bytes


def address_hash(address: str) -> bytes:
    """What a suppression is looked up by. Local parts are compared without case: nobody means two
    people by Ann@ and ann@, and one of them has said no."""
    return sha256(address.lower().encode()).digest()[:ADDRESS_HASH_BYTES]


def arrive(event: MessageScreened, site_of: Callable[[str], str | None]) -> Arrival:
    """site_of: the known site of a domain, or None. An unknown verdict is one to hold."""
    if event.verdict == VERDICT_PASS:
        return arrival(event.envelope, State.WAITING, site_of=site_of)
    why = ", ".join(reason.rule for reason in event.reasons)[:REASON_MAX]
    if event.verdict == VERDICT_BLOCK:
        return arrival(event.envelope, State.FAILED, reason=f"blocked: {why}".rstrip(": "))
    return arrival(event.envelope, State.HELD, reason=f"held: {why}".rstrip(": "), site_of=site_of)


def arrival(
    envelope: Envelope,
    state: State,
    *,
    reason: str = "",
    site_of: Callable[[str], str | None] = lambda _: None,
) -> Arrival:
    lane = lane_of(envelope, site_of)
    if state is State.WAITING and lane.site == RESOLVING:
        reason = "dns"
    accepted_s = seconds(envelope.accepted_at)
    return Arrival(
        message_id=envelope.message_id,
        tenant_id=envelope.tenant_id,
        email_id=envelope.email_id,
        lane=lane.key,
        site=lane.site,
        state=state,
        reason=reason,
        due_s=seconds(envelope.due_at) or accepted_s,
        expires_s=seconds(envelope.expires_at) or accepted_s + LIFETIME_S,
        address_hash=address_hash(envelope.recipient),
        test=envelope.test,
        envelope=envelope.SerializeToString(),
    )


def lane_of(envelope: Envelope, site_of: Callable[[str], str | None]) -> Lane:
    """Test mail has a lane of its own; what has no known site waits for DNS, by domain."""
    domain = domain_of(envelope.recipient)
    site = SANDBOX if envelope.test else site_of(domain)
    bulk = envelope.message_class == MESSAGE_CLASS_BULK
    if site:
        return Lane(envelope.tenant_id, site, bulk)
    return Lane(envelope.tenant_id, RESOLVING, bulk, domain)


def blocked(arrival: Arrival, closed_s: float) -> MessageClosed:
    """What is told of a message that was blocked on arrival."""
    return closed(
        Final(
            arrival.message_id,
            arrival.state,
            arrival.reason,
            attempt=0,
            ambiguous=False,
            reply=b"",
            bounce_class="",
            closed_s=closed_s,
            envelope=arrival.envelope,
        )
    )
