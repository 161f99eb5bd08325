"""Lives of messages at random, and what is to be counted of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1 import events_pb2 as delivery
from contracts.events.v1 import events_pb2 as events
from contracts.ingest.v1 import events_pb2 as ingest
from contracts.router.v1 import events_pb2 as router
from contracts.shield.v1.events_pb2 import VERDICT_HOLD, VERDICT_PASS, MessageScreened
from kernel.ids import uuid7_of
from tests.support.shadow_events import shadow_of

HOURS, LIFETIME_H = 84, 30  # hours before now in which messages are accepted, and end
SITES = ("google", "yahoo", "example.net", "example.org")
IPS = ("ip-1", "ip-2", "ip-3")
CLASSES = {
    "invalid_recipient": "permanent",
    "quota_issues": "transient",
    "uncategorized": "undetermined",
    "of_another_version": "undetermined",
}
NOWHERE = ("", "")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
NOT_ATTEMPTED = (delivery.ATTEMPT_OUTCOME_STALE, delivery.ATTEMPT_OUTCOME_EGRESS_FAILED)


class Mark(NamedTuple):
    """What is counted, and when. place: IP and site."""

    metric: str
    at: datetime
    place: tuple[str, str] = NOWHERE
    bounce_class: str = ""
    number: int = 1


@dataclass(slots=True)
class Life:
    """A message with its events and what is to be counted of it. wait_s: durations until the first
    attempt and until the delivery, with the times at which they are counted."""

    random: Random
    now: datetime
    account_id: str
    tenant_id: str
    domain_id: str
    key_id: str
    stream: str
    recipient: str
    tags: dict[str, str]
    test: bool
    events: list[Message] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    message_id: str = ""
    email_id: str = ""
    accepted_at: datetime = LONG_AGO
    due_at: datetime = LONG_AGO
    place: tuple[str, str] = NOWHERE

    @property
    def ids(self) -> dict[str, Any]:
        return {
            "message_id": self.message_id,
            "tenant_id": self.tenant_id,
            "email_id": self.email_id,
            "recipient": self.recipient,
            "test": self.test,
        }

    def later(self, moment: datetime, seconds: float) -> datetime:
        """At random."""
        return moment + timedelta(milliseconds=int(self.random.uniform(1, seconds * 1000)))

    def mark(self, metric: str, at: datetime, **more: Any) -> None:  # noqa: ANN401 - of Mark
        self.marks.append(Mark(metric, at, **more))


def lives(random: Random, count: int, *, tenants: Sequence[str], now: datetime) -> list[Life]:
    """Of tenants of one account."""
    account_id = str(UUID(bytes=sha256(tenants[0].encode()).digest()[:16]))
    return [_life(random, account_id, tenants=tenants, now=now) for _ in range(count)]


def _life(random: Random, account_id: str, *, tenants: Sequence[str], now: datetime) -> Life:
    names = ("color:red", "color:blue", "campaign:spring", "plain:")
    tags = random.sample(names, random.choice((0, 0, 1, 2)))
    life = Life(
        random,
        now,
        account_id,
        random.choice(tenants),
        UUID(int=random.randrange(1, 4)).__str__(),
        UUID(int=random.randrange(10, 13)).__str__(),
        random.choice(("transactional", "broadcast")),
        f"u{random.randrange(100)}@{random.choice(('a.example', 'B.example', 'c.example'))}",
        dict(tuple(tag.split(":")) for tag in tags),  # type: ignore[misc]
        random.random() < 0.1,
    )
    _accept(life)
    end = random.choice((_deliver, _deliver, _deliver, _bounce, _end_early, lambda _: None))
    end(life)
    return life


def _accept(life: Life) -> None:
    random = life.random
    ms = int((life.now - timedelta(hours=random.uniform(LIFETIME_H, HOURS))).timestamp() * 1000)
    life.accepted_at = datetime.fromtimestamp(ms / 1000, UTC)
    life.due_at = life.accepted_at
    if random.random() < 0.2:
        life.due_at = life.later(life.accepted_at, 7200)
    for name in ("message_id", "email_id"):
        setattr(life, name, str(uuid7_of(ms, sha256(random.randbytes(16)).digest())))
    octets = random.randrange(1, 10_000)
    context = context_of(life, octets)
    life.events.append(
        ingest.MessageAccepted(
            message_id=life.message_id,
            priority=ingest.PRIORITY_BULK,
            context=context,
            to=[life.recipient],
            tags=life.tags,
            stream=life.stream,
            account_id=life.account_id,
        )
    )
    life.mark("accepted", life.accepted_at)
    life.mark("bytes", life.accepted_at, number=octets)
    held = random.random() < 0.1
    verdict = VERDICT_HOLD if held else VERDICT_PASS
    life.events.append(
        MessageScreened(
            message_id=life.message_id,
            priority=ingest.PRIORITY_BULK,
            context=context,
            verdict=verdict,
        )
    )
    if held:
        life.mark("held", life.accepted_at)
    if random.random() < 0.2:
        differ(life, *shadow_of(context, verdict, random))


def differ(life: Life, event: Message, metric: str) -> None:
    """A second model gives the message another verdict."""
    life.events.append(event)
    if metric:
        life.mark(metric, life.accepted_at)


def context_of(life: Life, octets: int = 0) -> ingest.MessageContext:
    context = ingest.MessageContext(
        **life.ids,
        domain_id=life.domain_id,
        content_bytes=octets,
        accepted_at=stamp(life.accepted_at),
        due_at=stamp(life.due_at),
    )
    setattr(context, life.random.choice(("api_key_id", "mailbox_id")), life.key_id)
    return context


def _attempt(life: Life, attempt: int, at: datetime, outcome: int, *, code: int) -> datetime:
    """Assign and attempt; returns the end of the attempt."""
    random = life.random
    life.place = (random.choice(IPS), random.choice(SITES)) if random.random() < 0.3 else life.place
    if life.place == NOWHERE:
        life.place = (random.choice(IPS), random.choice(SITES))
    ip, site = life.place
    life.events.append(
        router.DeliveryAssigned(
            message_id=life.message_id,
            attempt=attempt,
            egress_id=ip,
            site=site,
            priority=ingest.PRIORITY_BULK,
            context=context_of(life),
            assigned_at=stamp(at),
        )
    )
    began = life.later(at, 60)
    ended = life.later(began, 30)
    if attempt == 1:
        life.mark("sent", at, place=life.place)
    event = delivery.DeliveryAttempted(
        **life.ids,
        attempt=attempt,
        outcome=outcome,  # type: ignore[arg-type]
        reply=delivery.Reply(code=code),
        egress_id=ip,
        site=site,
        attempted_at=stamp(ended),
        duration_ms=int((ended - began) / timedelta(milliseconds=1)),
    )
    life.events.append(event)
    return ended


def _try(life: Life) -> tuple[int, datetime, bool]:
    """Attempts that fail for now; number and time of the next one, and whether one was refused."""
    random, at, attempt, refused = life.random, life.later(life.due_at, 3600), 1, False
    for _ in range(random.choice((0, 0, 1, 3))):
        kind = random.choice(("refused", "refused", "stale", "no connection"))
        if kind == "stale":
            at = _attempt(life, attempt, at, random.choice(NOT_ATTEMPTED), code=0)
        else:
            code = 451 if kind == "refused" else 0
            at = _attempt(life, attempt, at, delivery.ATTEMPT_OUTCOME_TEMPORARY, code=code)
        if kind == "refused":
            life.mark("deferrals", at, place=life.place)
            if not refused:
                life.mark("delivery_delayed", at, place=life.place)
            refused = True
        attempt += 1
        at = life.later(at, 7200)
    return attempt, at, refused


def _close(life: Life, state: int, at: datetime, *, reason: str = "", cls: str = "") -> datetime:
    closed_at = life.later(at, 5)
    life.events.append(
        router.MessageClosed(
            **life.ids,
            state=state,  # type: ignore[arg-type]
            reason=reason,
            bounce_class=cls,
            closed_at=stamp(closed_at),
        )
    )
    return closed_at


def _deliver(life: Life) -> None:
    attempt, at, refused = _try(life)
    at = _attempt(life, attempt, at, delivery.ATTEMPT_OUTCOME_DELIVERED, code=250)
    at = _close(life, router.CLOSED_STATE_DELIVERED, at)
    life.mark("delivered", at, place=life.place)
    life.mark("delivered_later" if refused else "delivered_first", at, place=life.place)
    for act in (_complain, _unsubscribe, _bounce_late, _engage):
        if life.random.random() < 0.5:
            act(life, at)


def _bounce(life: Life) -> None:
    attempt, at, _ = _try(life)
    at = _attempt(life, attempt, at, delivery.ATTEMPT_OUTCOME_PERMANENT, code=550)
    cls = life.random.choice((*CLASSES, ""))
    at = _close(life, router.CLOSED_STATE_BOUNCED, at, cls=cls)
    _mark_bounce(life, at, cls)


def _mark_bounce(life: Life, at: datetime, cls: str, *more: str) -> None:
    cls = cls or "uncategorized"
    for metric in ("bounced", f"bounced_{CLASSES[cls]}", *more):
        life.mark(metric, at, place=life.place, bounce_class=cls)


def _bounce_late(life: Life, after: datetime) -> None:
    at, cls = life.later(after, 7200), life.random.choice(tuple(CLASSES))
    event = delivery.BounceReceived(**life.ids, bounce_class=cls, received_at=stamp(at))
    life.events.append(event)
    _mark_bounce(life, at, cls, "bounced_async")


def _end_early(life: Life) -> None:
    ends = {
        "suppressed": (router.CLOSED_STATE_SUPPRESSED, "hard_bounce"),
        "canceled": (router.CLOSED_STATE_CANCELED, ""),
        "failed": (router.CLOSED_STATE_FAILED, "expired"),
        "blocked": (router.CLOSED_STATE_FAILED, "blocked: VIRUS"),
    }
    metric = life.random.choice(tuple(ends))
    state, reason = ends[metric]
    at = _close(life, state, life.due_at, reason=reason)
    life.mark("failed" if metric == "blocked" else metric, at)
    if metric == "blocked":
        life.mark("blocked", at)


def _complain(life: Life, after: datetime) -> None:
    at = life.later(after, 7200)
    life.events.append(delivery.ComplaintReceived(**life.ids, received_at=stamp(at)))
    life.mark("complained", at, place=life.place)


def _unsubscribe(life: Life, after: datetime) -> None:
    moments = [life.later(after, 7200) for _ in range(life.random.choice((1, 2)))]
    for scope, at in enumerate(moments):
        event = events.RecipientUnsubscribed(
            **life.ids, scope=f"list/{scope}", unsubscribed_at=stamp(at), day=scope + 1
        )
        life.events.append(event)
    life.mark("unsubscribed", min(moments), place=life.place)


def _engage(life: Life, after: datetime) -> None:
    """Opens and clicks of people and machines."""
    random, firsts = life.random, []
    for kind, name in ((events.MessageOpened, "opened"), (events.LinkClicked, "clicked")):
        people = [life.later(after, 36_000) for _ in range(random.choice((0, 1, 3)))]
        machines = [life.later(after, 36_000) for _ in range(random.choice((0, 0, 2)))]
        for at in (*people, *machines):
            machine = at in machines and at not in people
            life.events.append(_hit(life, kind, at, machine=machine))
            life.mark(f"machine_{name}" if machine else name, at, place=life.place)
        machines = [at for at in machines if at not in people]
        if people:
            life.mark(f"unique_{name}", min(people), place=life.place)
            firsts.append(min(people))
        elif machines:
            life.mark(f"machine_unique_{name}", min(machines), place=life.place)
    if firsts:
        life.mark("confirmed_opened", min(firsts), place=life.place)


def _hit(life: Life, kind: Callable[..., Message], at: datetime, *, machine: bool) -> Message:
    certainty = events.MACHINE_CERTAINTY_CERTAIN if machine else life.random.choice((0, 1))
    hit = events.TrackingHit(at=stamp(at), machine=certainty)  # type: ignore[arg-type]
    source = life.random.randbytes(8).hex()
    ids = {**life.ids, "recipient": ""}
    link = {"link_id": "1", "link": "https://a.example"} if kind is events.LinkClicked else {}
    minute = int(at.timestamp()) // 60
    return kind(**ids, **link, minute=minute, source=source, hit=hit)


def stamp(moment: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(moment)
    return found
