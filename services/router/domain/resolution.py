"""What DNS' answer makes of the messages that wait for it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from contracts.delivery.v1.events_pb2 import Reply
from contracts.ingest.v1.events_pb2 import Envelope
from mail.address import domain_of
from services.router.domain.dispatch import Relaned
from services.router.domain.fairness import OpenLane
from services.router.domain.message import Claimed, Closing, Lane, State
from services.router.domain.routes import Answer, NoRoute, Route, Unknown

BAD_DOMAIN = "bad_domain"


@dataclass(slots=True)
class Heard:
    """What DNS has said of lanes. answers: by lane; None for one that mixes domains. unknown: asked
    again later, and none of their mail is touched until then."""

    answers: dict[OpenLane, Route | NoRoute | None] = field(default_factory=dict)
    unknown: dict[OpenLane, Unknown] = field(default_factory=dict)


@dataclass(slots=True)
class Resolved:
    relaned: list[Relaned] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)


def hear(
    lanes: Iterable[OpenLane], answer_of: Callable[[str, bool], Answer | None], *, asked_max: int
) -> Heard:
    """answer_of a domain, which is asked about where need be; None: not known yet. asked_max:
    of one tenant, at a time."""
    heard, asked = Heard(), Counter[str]()
    for one in in_turns(lanes):
        tenant_id, domain = one.lane.tenant_id, one.lane.domain
        if not domain:
            heard.answers[one] = None
            continue
        match answer_of(domain, asked[tenant_id] < asked_max):
            case None:
                asked[tenant_id] += 1
            case Unknown() as unknown:
                heard.unknown[one] = unknown
            case Route() | NoRoute() as answer:
                heard.answers[one] = answer
    return heard


def in_turns(lanes: Iterable[OpenLane]) -> Iterator[OpenLane]:
    """One of each tenant after the other: questions are few, and nobody gets them all."""
    by_tenant: dict[str, list[OpenLane]] = defaultdict(list)
    for one in lanes:
        by_tenant[one.lane.tenant_id].append(one)
    return (one for one in chain(*zip_longest(*by_tenant.values())) if one)


def resolve(rows: Iterable[Claimed], answers: Mapping[str, Route | NoRoute | None]) -> Resolved:
    """answers: by the key of a lane."""
    resolved = Resolved()
    for row in rows:
        lane, answer = Lane.of(row.lane), answers[row.lane]
        if isinstance(answer, NoRoute):
            resolved.closings.append(unroutable(row, answer))
        elif answer is not None:
            there = lane._replace(site=answer.site, domain="")
            resolved.relaned.append(Relaned(row, there, row.due_s, ""))
        else:
            domain = domain_of(Envelope.FromString(row.envelope).recipient)
            resolved.relaned.append(Relaned(row, lane._replace(domain=domain), row.due_s, "dns"))
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
