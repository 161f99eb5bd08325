"""One terminal state, whatever comes in which order and how often: the handlers, the tick and the
requests against real PostgreSQL, with the broker replaced by a shuffled pack of records."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import (
    OUTCOME_AMBIGUOUS,
    OUTCOME_DELIVERED,
    OUTCOME_PERMANENT,
    OUTCOME_STALE,
    OUTCOME_TEMPORARY,
    DeliveryAttempted,
    Reply,
)
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import MESSAGE_CLASS_EXPRESS, Envelope
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed
from contracts.shield.v1.events_pb2 import (
    VERDICT_BLOCK,
    VERDICT_HOLD,
    VERDICT_PASS,
    MessageScreened,
)
from kernel import clock
from kernel.backoff import Health
from kernel.database import Database
from kernel.ids import uuid7_text
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.stream import Record, Stream
from kernel.table import Table
from kernel.topics import contract_of, encode
from services.router.api.service import RouterService
from services.router.domain.dispatch import Desk
from services.router.domain.facts import timestamp
from services.router.domain.retry import RetryPolicy
from services.router.domain.routes import Exchanger, Route
from services.router.domain.scopes import Scopes, Sender
from services.router.domain.shaping import Shape, Shaping
from services.router.handlers import Handlers
from services.router.loops.owner import Owner, Rhythm
from services.router.store.partitions import Partitions
from services.router.store.wake import Waker
from tests.support.pair import FreshDatabase
from tests.support.router import play, screened

ROUTE = Route("site", (Exchanger("127.0.0.1", 0, 25),))
OUTCOMES = [
    OUTCOME_DELIVERED,
    OUTCOME_PERMANENT,
    OUTCOME_TEMPORARY,
    OUTCOME_TEMPORARY,
    OUTCOME_STALE,
    OUTCOME_AMBIGUOUS,
]
IN_FLIGHT_MAX = 7


class Bench:
    """router without a broker: what it tells is kept, what it hears is dealt by a dealer."""

    def __init__(self, database: FreshDatabase, dealer: random.Random) -> None:
        self.dealer = dealer
        self.told: list[Outgoing] = []
        self.engine = Database(database.engine("router"))
        self.api = Database(database.api("router"))
        self.health = Health()
        self.outbox = Outbox(self.engine, "router", self.keep)
        self.lease = Lease(self.engine, "router", "default", lease_s=600)
        retry, partitions = RetryPolicy((0.001,), 0.001), Partitions()
        self.owner = Owner(
            self.lease,
            self.outbox,
            new_desk=self.desk,
            rhythm=Rhythm(20, 100, 0, 0, 0, 60),
            on_names=lambda: None,
            health=self.health,
        )
        self._listen(retry, partitions)
        self.service = RouterService(
            self.engine,
            self.api,
            self.outbox,
            self.health,
            journal=cast(Any, None),
            partitions=partitions,
            tenants=cast(Table[Tenant], SimpleNamespace(get=lambda _: None)),
            retry=retry,
            waker=cast(Waker, SimpleNamespace(work=nothing)),
        )

    def _listen(self, retry: RetryPolicy, partitions: Partitions) -> None:
        handlers = Handlers(
            tenants=cast(Table[Tenant], SimpleNamespace(get=lambda _: None)),
            site_of=lambda _: "site",
            retry=retry,
            partitions=partitions,
            waker=cast(Waker, SimpleNamespace(work=nothing)),
            answered=lambda: None,
        )
        common: dict[str, Any] = {
            "health": self.health,
            "send": self.keep,
            "database": self.engine,
            "outbox": self.outbox,
        }
        self.screened: Any = Stream(
            MessageScreened, name="screened", handler=handlers.on_screened, **common
        )
        self.attempted: Any = Stream(
            DeliveryAttempted, name="attempted", handler=handlers.on_attempted, **common
        )

    async def keep(self, records: Sequence[Outgoing]) -> None:
        self.told += records

    def desk(self) -> Desk:
        scopes = Scopes(lambda _: Sender(), Shaping(Shape(IN_FLIGHT_MAX), {}))
        return Desk(scopes, lambda _: ROUTE, ROUTE, "mail.test", 60)

    def events(self, kind: type[Message]) -> list[Any]:
        topic = contract_of(kind.DESCRIPTOR).topic.name
        return [kind.FromString(record.value) for record in self.told if record.topic == topic]

    async def close(self) -> None:
        await self.outbox.drain()
        await self.lease.release()
        await self.engine.close()
        await self.api.close()


async def nothing(_: object, *, names: bool = False) -> None:
    """Nobody sleeps here."""


def record(event: Message) -> Record:
    out = encode(event, clock.now())
    return Record(out.topic, 0, 0, out.key, out.value, ())


def envelopes(tenant_id: str, count: int, *, life_s: float) -> list[Envelope]:
    now_s = clock.now().timestamp()
    return [
        Envelope(
            message_id=uuid7_text(),
            email_id=uuid7_text(),
            tenant_id=tenant_id,
            recipient=f"u{number}@site.test",
            message_class=MESSAGE_CLASS_EXPRESS,
            accepted_at=timestamp(now_s - 1),
            due_at=timestamp(now_s - 1),
            expires_at=timestamp(now_s + life_s),
        )
        for number in range(count)
    ]


def answers(bench: Bench) -> list[DeliveryAttempted]:
    """To any assignment ever made, some of them twice and long past."""
    made = bench.events(DeliveryAssigned)
    chosen = bench.dealer.choices(made, k=min(len(made), 25)) if made else []
    return [
        DeliveryAttempted(
            message_id=one.message_id,
            attempt=one.attempt,
            tenant_id=one.envelope.tenant_id,
            recipient=one.envelope.recipient,
            outcome=(outcome := bench.dealer.choice(OUTCOMES)),
            reply=Reply(code=0 if outcome == OUTCOME_STALE else 450),
            connected=outcome != OUTCOME_STALE,
            ambiguous=outcome == OUTCOME_AMBIGUOUS,
        )
        for one in chosen
    ]


async def step(bench: Bench, mail: Sequence[Envelope], tenant_id: str) -> None:
    """Something that may happen, at random."""
    dealer = bench.dealer
    some = dealer.sample(mail, 8)
    match dealer.randrange(6):
        case 0 | 1:
            verdicts = (VERDICT_PASS, VERDICT_PASS, VERDICT_HOLD, VERDICT_BLOCK)
            batch = [screened(one, dealer.choice(verdicts)) for one in some]
            await bench.screened.handle([record(event) for event in batch])
        case 2:
            await bench.attempted.handle([record(event) for event in answers(bench)])
        case 3:
            ids = [one.message_id for one in some]
            request = pb.ReleaseRequest(tenant_id=tenant_id, message_ids=ids)
            await bench.service.Release(request, cast(Any, None))
        case 4:
            cancel = pb.CancelRequest(tenant_id=tenant_id, envelopes=some[:1])
            await bench.service.Cancel(cancel, cast(Any, None))
        case _:
            await asyncio.gather(bench.owner.tick(), bench.attempted.handle([]))


@pytest.mark.parametrize("seed", range(4))
def test_every_message_ends_once_and_only_once(database: FreshDatabase, seed: int) -> None:
    async def story() -> None:
        tenant_id = str(uuid4())
        bench = Bench(database, random.Random(seed))
        assert await bench.lease.try_take()
        mail = envelopes(tenant_id, 40, life_s=3600)
        for _ in range(120):
            await step(bench, mail, tenant_id)
            check_windows(database, tenant_id)
        await finish(bench, mail, tenant_id, database)
        await bench.close()
        ends = Counter(one.message_id for one in bench.events(MessageClosed))
        assert ends == Counter({one.message_id: 1 for one in mail})

    play(story())


def check_windows(database: FreshDatabase, tenant_id: str) -> None:
    with database.connect() as connection:
        [(assigned,)] = connection.execute(
            "SELECT count(*) FROM router.messages WHERE state = 'assigned' AND tenant_id = %s",
            (tenant_id,),
        ).fetchall()
    assert assigned <= IN_FLIGHT_MAX  # type: ignore[operator]


async def finish(
    bench: Bench, mail: Sequence[Envelope], tenant_id: str, database: FreshDatabase
) -> None:
    """Everything is screened, released and, when assigned, delivered."""
    await bench.screened.handle([record(screened(one)) for one in mail])
    request = pb.ReleaseRequest(tenant_id=tenant_id, message_ids=[one.message_id for one in mail])
    await bench.service.Release(request, cast(Any, None))
    for _ in range(100):
        await bench.owner.tick()
        await asyncio.sleep(0.002)
        delivered = [
            DeliveryAttempted(
                message_id=one.message_id,
                attempt=one.attempt,
                tenant_id=tenant_id,
                outcome=OUTCOME_DELIVERED,
                connected=True,
            )
            for one in bench.events(DeliveryAssigned)
        ]
        await bench.attempted.handle([record(event) for event in delivered])
        with database.connect() as connection:
            query = (
                "SELECT count(*) FROM router.messages WHERE closed_at IS NULL AND tenant_id = %s"
            )
            if connection.execute(query, (tenant_id,)).fetchall() == [(0,)]:
                return
