"""Messages of some tenants over thirty days: their events, and what is to be counted of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1 import events_pb2 as delivery
from contracts.ingest.v1 import events_pb2 as ingest
from contracts.router.v1 import events_pb2 as router
from contracts.shield.v1.events_pb2 import VERDICT_PASS, MessageScreened
from kernel.ids import uuid7_of

DAYS, BATCH, TURN = 30, 200, 2_000  # messages of a batch, and of a turn
DOMAINS, KEYS, IPS, SITES, CAMPAIGNS, BOUNCED = 2, 2, 4, 24, 3, 0.03
OCTETS, PRIORITY = 10_000, ingest.PRIORITY_EXPRESS

Parts = list[list[Message]]
Key = tuple[str, str, int, str, str]
"""Time axis, dimension, day since 1970, value and metric."""


@dataclass(slots=True)
class Tally:
    """Counts each message by each dimension on both axes, without the code of events."""

    counts: Counter[Key] = field(default_factory=Counter)

    def add(self, life: "Life") -> None:
        own = {
            "tenant": life.ids["tenant_id"], "domain": life.domain, "key": life.key,
            "stream": "transactional", "recipient_domain": life.site, "tag": life.tag,
        }  # fmt: skip
        bounced = ("bounced", "bounced_permanent")
        late = bounced if life.bounced else ("delivered", "delivered_first")
        cls = "invalid_recipient" if life.bounced else ""
        for names, at, place, bounce_class in (
            ((("accepted", 1), ("bytes", OCTETS)), life.at, ("", ""), ""),
            ((("sent", 1),), life.at, (life.ip, life.site), ""),
            (tuple((one, 1) for one in late), life.ended, (life.ip, life.site), cls),
        ):
            values = {**own, "ip": place[0], "site": place[1], "bounce_class": bounce_class}
            for axis, moment in (("event", at), ("sent", life.at)):
                day = int(moment.timestamp()) // 86_400
                for dimension, value in values.items():
                    for name, number in names:
                        self.counts[axis, dimension, day, value, name] += number


@dataclass(frozen=True, slots=True)
class Life:
    ids: dict[str, Any]
    at: datetime
    ended: datetime
    domain: str
    key: str
    tag: str
    ip: str
    site: str
    bounced: bool
    account_id: str

    def events(self) -> Parts:
        """As they arrive under load: the accept, the assignment, the end."""
        context = ingest.MessageContext(
            **self.ids, domain_id=self.domain, accepted_at=stamp(self.at), due_at=stamp(self.at),
            api_key_id=self.key, content_bytes=OCTETS, priority=PRIORITY,
        )  # fmt: skip
        message_id, (name, _, value) = self.ids["message_id"], self.tag.partition(":")
        accepted = ingest.MessageAccepted(
            message_id=message_id, context=context, to=[self.ids["recipient"]],
            subject="Your order", tags={name: value}, stream="transactional",
            account_id=self.account_id, priority=PRIORITY,
        )  # fmt: skip
        screened = MessageScreened(
            message_id=message_id, context=context, verdict=VERDICT_PASS, priority=PRIORITY
        )
        assigned = router.DeliveryAssigned(
            message_id=message_id, attempt=1, context=context, assigned_at=stamp(self.at),
            egress_id=self.ip, site=self.site, priority=PRIORITY,
        )  # fmt: skip
        return [[accepted, screened], [assigned], self._end()]

    def _end(self) -> list[Message]:
        outcomes = (delivery.ATTEMPT_OUTCOME_DELIVERED, delivery.ATTEMPT_OUTCOME_PERMANENT)
        states = (router.CLOSED_STATE_DELIVERED, router.CLOSED_STATE_BOUNCED)
        ended = stamp(self.ended)
        attempted = delivery.DeliveryAttempted(
            **self.ids, attempt=1, outcome=outcomes[self.bounced], attempted_at=ended,
            duration_ms=50, egress_id=self.ip, site=self.site,
            reply=delivery.Reply(code=550 if self.bounced else 250, text="queued"),
        )  # fmt: skip
        closed = router.MessageClosed(
            **self.ids, state=states[self.bounced], attempt=1, closed_at=ended, site=self.site,
            bounce_class="invalid_recipient" if self.bounced else "",
        )  # fmt: skip
        return [attempted, closed]


def lives_of_turn(
    random: Random, tenants: Sequence[str], *, account_id: str, now: datetime
) -> list[Life]:
    """Of one minute."""
    start = now - timedelta(days=random.uniform(0.1, DAYS - 1))
    return [
        life_at(random, tenants, account_id=account_id, at=start + timedelta(minutes=n / TURN))
        for n in range(TURN)
    ]


def life_at(random: Random, tenants: Sequence[str], *, account_id: str, at: datetime) -> Life:
    ms = int(at.timestamp() * 1000)
    at = datetime.fromtimestamp(ms / 1000, UTC)
    site = f"site{random.randrange(SITES)}.example"
    message_id, email_id = (
        str(uuid7_of(ms, sha256(random.randbytes(16)).digest())) for _ in range(2)
    )
    ids = {
        "message_id": message_id,
        "tenant_id": random.choice(tenants),
        "email_id": email_id,
        "recipient": f"u{random.randrange(10**6)}@{site}",
    }
    return Life(
        ids,
        at,
        at + timedelta(milliseconds=random.randrange(100, 5_000)),
        f"domain-{random.randrange(DOMAINS)}",
        f"key-{random.randrange(KEYS)}",
        f"campaign:c{random.randrange(CAMPAIGNS)}",
        f"ip-{random.randrange(IPS)}",
        site,
        random.random() < BOUNCED,
        account_id,
    )


def parts_of(lives: Sequence[Life]) -> Iterator[list[Message]]:
    """In three batches of each BATCH messages."""
    for first in range(0, len(lives), BATCH):
        steps = [life.events() for life in lives[first : first + BATCH]]
        for n in range(3):
            yield [event for one in steps for event in one[n]]


def stamp(moment: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(moment)
    return found
