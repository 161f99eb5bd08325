"""What becomes of claimed rows: assigned, suppressed, moved to another lane, or put off."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from contracts.ingest.v1.events_pb2 import Envelope
from contracts.router.v1.events_pb2 import DeliveryAssigned, MailExchanger
from mail.address import domain_of, user_of
from services.router.domain.facts import timestamp
from services.router.domain.message import (
    RESOLVING,
    SANDBOX,
    Claimed,
    Closing,
    Lane,
    State,
)
from services.router.domain.routes import Route
from services.router.domain.scopes import Egress, Scopes
from services.router.domain.shaping import Shape

SANDBOX_EGRESS = Egress(SANDBOX, "", "", "")
PUT_OFF_S = 1.0  # the egress that a retry stays with has no room


class Assignment(NamedTuple):
    """event: whole. stored: the same without its envelope, which the row has."""

    row: Claimed
    egress_id: str
    not_after_s: float
    stored: bytes
    event: DeliveryAssigned


class Relaned(NamedTuple):
    """A waiting row that goes on waiting elsewhere, or later."""

    row: Claimed
    lane: Lane
    due_s: float
    reason: str


@dataclass(slots=True)
class Dispatched:
    assignments: list[Assignment] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    relaned: list[Relaned] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Desk:
    """What a decision about a row needs.

    route_of: the known route of a domain, or None. valid_s: how long an assignment may be used.
    """

    scopes: Scopes
    route_of: Callable[[str], Route | None]
    sandbox: Route
    ehlo: str
    valid_s: float


def dispatch(rows: Iterable[Claimed], desk: Desk, *, now_s: float) -> Dispatched:
    """Rows are due, and fit the rooms that were shared out. What nobody can read fails alone."""
    done = Dispatched()
    tills: dict[str, Till] = {}
    pools: dict[str, Ways] = {}
    for row in rows:
        if (till := tills.get(row.lane)) is None:
            till = tills[row.lane] = Till.of(Lane.of(row.lane), desk, pools, now_s=now_s)
        try:
            envelope = Envelope.FromString(row.envelope)
        except DecodeError:
            done.closings.append(closing(row, State.FAILED, reason="unreadable"))
            continue
        if is_suppressed(row, envelope):
            done.closings.append(closing(row, State.SUPPRESSED, reason="suppressed"))
            continue
        send(row, envelope, till=till, done=done, desk=desk, now_s=now_s)
    settle_up(tills.values(), desk.scopes, now_s=now_s)
    return done


def is_suppressed(row: Claimed, envelope: Envelope) -> bool:
    """The list is not for test mail, which has an address that is always on it."""
    if envelope.test:
        return user_of(envelope.recipient) == "suppressed"
    return row.suppressed


def settle_up(tills: Iterable["Till"], scopes: Scopes, *, now_s: float) -> None:
    """What all lanes took, in one sum for each tenant."""
    tenants: Counter[str] = Counter()
    for till in tills:
        for egress_id, number in till.taken.items():
            scopes.take_egress(egress_id, till.lane.site, number=number, now_s=now_s)
            tenants[till.lane.tenant_id] += number
    for tenant_id, number in tenants.items():
        scopes.take_tenant(tenant_id, number=number, now_s=now_s)


def send(
    row: Claimed, envelope: Envelope, *, till: "Till", done: Dispatched, desk: Desk, now_s: float
) -> None:
    """Assigned, or moved to where it belongs."""
    lane = till.lane
    domain = domain_of(envelope.recipient)
    route = desk.sandbox if envelope.test else desk.route_of(domain)
    if route is None:
        asking = lane._replace(site=RESOLVING, domain=domain)
        done.relaned.append(Relaned(row, asking, now_s, "dns"))
    elif route.site != lane.site:
        done.relaned.append(Relaned(row, lane._replace(site=route.site), now_s, ""))
    elif egress := till.choose(row.egress_id):
        made = assign(row, envelope, route=route, egress=egress, desk=desk, now_s=now_s)
        done.assignments.append(made)
    else:
        done.relaned.append(Relaned(row, lane, now_s + PUT_OFF_S, "egress_window"))


Ways = list[tuple[Egress, int]]


@dataclass(slots=True)
class Till:
    """What one lane takes from its scopes in this tick: reckoned row by row, taken once.

    left: what each way out has room for, shared by all lanes of a pool and site; None: without
    limit (the sandbox).
    """

    lane: Lane
    left: Ways | None
    taken: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, lane: Lane, desk: Desk, pools: dict[str, Ways], *, now_s: float) -> "Till":
        """pools: what is left so far, by the ring of a pool at a site."""
        if lane.site == SANDBOX:
            return cls(lane, None)
        *_, ring = desk.scopes.rings_of(lane)
        if ring not in pools:
            pools[ring] = desk.scopes.ways_out(lane, now_s=now_s)
        return cls(lane, pools[ring])

    def choose(self, sticky: str) -> Egress | None:
        """The way out of the attempt before while it is healthy, else that with the most room.

        None: there is no room, or not on the one that the message stays with.
        """
        if self.left is None:
            return SANDBOX_EGRESS
        best = -1
        for index, (egress, free) in enumerate(self.left):
            if egress.egress_id == sticky:
                best = index
                break
            if best < 0 or free > self.left[best][1]:
                best = index
        if best < 0 or self.left[best][1] <= 0:
            return None
        egress, free = self.left[best]
        self.left[best] = (egress, free - 1)
        self.taken[egress.egress_id] = self.taken.get(egress.egress_id, 0) + 1
        return egress


def closing(row: Claimed, state: State, *, reason: str) -> Closing:
    return Closing(
        row.message_id,
        was=State.WAITING,
        attempt=row.attempt,
        state=state,
        reason=reason,
        ambiguous=row.ambiguous,
        envelope=row.envelope,
    )


def assign(
    row: Claimed, envelope: Envelope, *, route: Route, egress: Egress, desk: Desk, now_s: float
) -> Assignment:
    not_after_s = max(now_s, min(now_s + desk.valid_s, row.expires_s))
    shape = desk.scopes.shape_of(route.site)
    stored = way(egress, route, ehlo=desk.ehlo, shape=shape) + until(not_after_s)
    event = DeliveryAssigned.FromString(stored)
    event.message_id = row.message_id
    event.attempt = row.attempt + 1
    event.tries = row.tries
    event.ambiguous = row.ambiguous
    event.envelope.CopyFrom(envelope)
    return Assignment(row, egress.egress_id, not_after_s, stored, event)


@lru_cache(maxsize=10_000)
def way(egress: Egress, route: Route, *, ehlo: str, shape: Shape) -> bytes:
    """What assignments from one address to one route have in common, serialized."""
    return DeliveryAssigned(
        egress_id=egress.egress_id,
        site=route.site,
        source_ip=egress.source_ip,
        source_ipv6=egress.source_ipv6,
        ehlo=egress.ehlo or ehlo,
        exchangers=[
            MailExchanger(host=host, preference=preference, port=port)
            for host, preference, port in route.exchangers
        ],
        connections_max=shape.connections_max,
        messages_per_connection_max=shape.messages_per_connection_max,
    ).SerializeToString()


@lru_cache(maxsize=1)
def until(not_after_s: float) -> bytes:
    """The last field of an assignment: bytes behind bytes are one message. The same for a tick,
    but for messages that end before."""
    return DeliveryAssigned(not_after=timestamp(not_after_s)).SerializeToString()
