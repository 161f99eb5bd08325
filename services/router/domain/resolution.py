"""What DNS' answer makes of the messages that wait for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from contracts.delivery.v1.events_pb2 import Reply
from contracts.ingest.v1.events_pb2 import Envelope
from mail.address import domain_of
from services.router.domain.dispatch import Relaned
from services.router.domain.message import Claimed, Closing, Lane, State
from services.router.domain.routes import NoRoute, Route, Unknown

BAD_DOMAIN = "bad_domain"
ASKING_S = 1.0  # DNS is being asked; its answer wakes the loop before


@dataclass(slots=True)
class Resolved:
    relaned: list[Relaned] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)


def resolve(
    rows: Iterable[Claimed],
    answer_of: Callable[[str], Route | NoRoute | Unknown | None],
    *,
    now_s: float,
) -> Resolved:
    """answer_of: None while DNS is being asked."""
    resolved = Resolved()
    for row in rows:
        lane = Lane.of(row.lane)
        answer = answer_of(domain_of(Envelope.FromString(row.envelope).recipient))
        match answer:
            case Route():
                there = lane._replace(site=answer.site)
                resolved.relaned.append(Relaned(row, there, row.due_s, ""))
            case NoRoute():
                resolved.closings.append(unroutable(row, answer))
            case Unknown():
                later = now_s + answer.retry_s
                resolved.relaned.append(Relaned(row, lane, later, f"dns: {answer.text}"[:200]))
            case _:
                pass
    return resolved


def unroutable(row: Claimed, answer: NoRoute) -> Closing:
    """RFC 7505 §4.1 and RFC 3463: the domain refuses for good, and nobody is connected to."""
    reply = Reply(enhanced=answer.enhanced, text=answer.text, step="dns")
    return Closing(
        row.message_id,
        was=State.WAITING,
        attempt=row.attempt,
        state=State.BOUNCED,
        reason=answer.reason,
        ambiguous=row.ambiguous,
        envelope=row.envelope,
        reply=reply.SerializeToString(),
        bounce_class=BAD_DOMAIN,
    )
