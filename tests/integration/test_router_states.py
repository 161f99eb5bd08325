"""Every message reaches one terminal state, with records and requests in random order and repeated:
handlers, ticks and requests on real PostgreSQL, with a broker that is replaced by random choice."""

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
    ATTEMPT_OUTCOME_AMBIGUOUS,
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_STALE,
    ATTEMPT_OUTCOME_TEMPORARY,
    DeliveryAttempted,
    Reply,
)
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import PRIORITY_EXPRESS, MessageContext
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1 import held_service_pb2
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import (
    REVIEW_REJECTED,
    REVIEW_RELEASED,
    DeliveryAssigned,
    MessageClosed,
    Review,
)
from contracts.shield.v1.events_pb2 import (
    VERDICT_BLOCK,
    VERDICT_HOLD,
    VERDICT_PASS,
    MessageScreened,
)
from kernel import clock
from kernel.database import Database
from kernel.health import DependencyHealth
from kernel.ids import uuid7_text
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.processor import Record, StreamProcessor
from kernel.table import ReplicatedTable
from kernel.topics import contract_of, encode
from services.router.api.held import HeldServicer
from services.router.api.service import RouterServicer
from services.router.domain.cell import Cell
from services.router.domain.cells import CellDirectory
from services.router.domain.events import timestamp
from services.router.domain.policies import DEFAULT_POOL, TenantRouting
from services.router.domain.retry import RetryPolicy
from services.router.domain.routes import MxHost, Route
from services.router.domain.shaping import SiteLimits
from services.router.handlers import Handlers
from services.router.loops.received_results import SchedulerCallbacks
from services.router.loops.scheduler import Scheduler, SchedulerConfig
from services.router.store.day_partitions import DayPartitions
from services.router.store.notify import SchedulerNotifier
from tests.support.memory_cell import create_cell
from tests.support.router import address_key_of, screened
from tests.support.stack import FreshDatabase, opened

ROUTE = Route("site", (MxHost("127.0.0.1", 0, 25),))
OUTCOMES = [
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_TEMPORARY,
    ATTEMPT_OUTCOME_TEMPORARY,
    ATTEMPT_OUTCOME_STALE,
    ATTEMPT_OUTCOME_AMBIGUOUS,
]
IN_FLIGHT_MAX = 7


class BrokerlessRouter:
    """router without a broker: its events are recorded, and its records are chosen at random."""

    def __init__(self, database: FreshDatabase, rng: random.Random) -> None:
        self.rng = rng
        self.published: list[Outgoing] = []
        self.system_database = Database(database.system("router"))
        self.tenant_database = Database(database.tenant("router"))
        self.health = DependencyHealth()
        self.outbox = Outbox(self.system_database, "router", self.publish)
        self.lease = Lease(self.system_database, "router", "default", lease_s=600)
        retry, partitions = RetryPolicy((0.001,), 0.001), DayPartitions()
        self.scheduler = Scheduler(
            self.lease,
            self.outbox,
            new_cell=self.new_cell,
            config=SchedulerConfig(20, 100, 1.0, 0, 0, 0, 60),
            callbacks=SchedulerCallbacks(),
            health=self.health,
            address_key=address_key_of(self.system_database),
        )
        self.notifier = SchedulerNotifier(
            database.system("router"), CellDirectory(lambda _: DEFAULT_POOL)
        )
        self._create_processors(retry, partitions)
        self.service = RouterServicer(
            self.system_database,
            self.tenant_database,
            self.outbox,
            self.health,
            journal=cast(Any, None),
            partitions=partitions,
            tenants=cast(ReplicatedTable[Tenant], SimpleNamespace(get=lambda _: None)),
            retry=retry,
            notifier=self.notifier,
            address_key=address_key_of(self.system_database),
        )

        common = (self.system_database, self.tenant_database, self.outbox, self.health)
        self.held = HeldServicer(*common, self.notifier)

    async def review(self, mail: Sequence[MessageContext], review: Review.ValueType) -> None:
        ids = [one.message_id for one in mail]
        request = held_service_pb2.ReviewHeldRequest(
            tenant_id=mail[0].tenant_id, message_ids=ids, review=review
        )
        await self.held.ReviewHeld(request, cast(Any, None))

    def _create_processors(self, retry: RetryPolicy, partitions: DayPartitions) -> None:
        handlers = Handlers(
            tenants=cast(ReplicatedTable[Tenant], SimpleNamespace(get=lambda _: None)),
            site_of=lambda _: "site",
            retry=retry,
            partitions=partitions,
            notifier=self.notifier,
        )
        common: dict[str, Any] = {
            "health": self.health,
            "send": self.publish,
            "database": self.system_database,
            "outbox": self.outbox,
        }
        self.screened: Any = StreamProcessor(
            MessageScreened, name="screened", handler=handlers.on_screened, **common
        )
        self.attempted: Any = StreamProcessor(
            DeliveryAttempted, name="attempted", handler=handlers.on_attempted, **common
        )

    async def publish(self, records: Sequence[Outgoing]) -> None:
        self.published += records

    def new_cell(self) -> Cell:
        return create_cell(
            lambda _: TenantRouting(),
            site_limits=SiteLimits(IN_FLIGHT_MAX),
            route_of=lambda _: ROUTE,
        )

    def events(self, kind: type[Message]) -> list[Any]:
        topics = contract_of(kind.DESCRIPTOR).names
        return [kind.FromString(one.value) for one in self.published if one.topic in topics]

    async def close(self) -> None:
        await self.outbox.drain()
        await self.lease.release()
        await self.system_database.close()
        await self.tenant_database.close()


def record(event: Message) -> Record:
    out = encode(event, clock.now())
    return Record(out.topic, 0, 0, out.key, out.value, ())


def contexts(tenant_id: str, count: int, *, life_s: float) -> list[MessageContext]:
    now_s = clock.now().timestamp()
    return [
        MessageContext(
            message_id=uuid7_text(),
            email_id=uuid7_text(),
            tenant_id=tenant_id,
            recipient=f"u{number}@site.test",
            priority=PRIORITY_EXPRESS,
            accepted_at=timestamp(now_s - 1),
            due_at=timestamp(now_s - 1),
            expires_at=timestamp(now_s + life_s),
        )
        for number in range(count)
    ]


def random_attempts(router: BrokerlessRouter) -> list[DeliveryAttempted]:
    """Results of random assignments, including repeated and outdated ones."""
    assigned = router.events(DeliveryAssigned)
    chosen = router.rng.choices(assigned, k=min(len(assigned), 25)) if assigned else []
    return [
        DeliveryAttempted(
            message_id=one.message_id,
            attempt=one.attempt,
            tenant_id=one.context.tenant_id,
            recipient=one.context.recipient,
            outcome=(outcome := router.rng.choice(OUTCOMES)),
            reply=Reply(code=0 if outcome == ATTEMPT_OUTCOME_STALE else 450),
            connected=outcome != ATTEMPT_OUTCOME_STALE,
            ambiguous=outcome == ATTEMPT_OUTCOME_AMBIGUOUS,
        )
        for one in chosen
    ]


async def step(router: BrokerlessRouter, mail: Sequence[MessageContext], tenant_id: str) -> None:
    """One random batch, request or tick."""
    rng = router.rng
    some = rng.sample(mail, 8)
    match rng.randrange(6):
        case 0 | 1:
            verdicts = (VERDICT_PASS, VERDICT_PASS, VERDICT_HOLD, VERDICT_BLOCK)
            batch = [screened(one, rng.choice(verdicts)) for one in some]
            await router.screened.handle([record(event) for event in batch])
        case 2:
            await router.attempted.handle([record(event) for event in random_attempts(router)])
        case 3:
            release = router.review(some, REVIEW_RELEASED)
            await asyncio.gather(release, router.review(some[:3], REVIEW_REJECTED))
        case 4:
            cancel = pb.CancelRequest(tenant_id=tenant_id, contexts=some[:1])
            await router.service.Cancel(cancel, cast(Any, None))
        case _:
            await asyncio.gather(router.scheduler.tick(), router.attempted.handle([]))


@pytest.mark.parametrize("seed", range(4))
async def test_every_message_closes_exactly_once(database: FreshDatabase, seed: int) -> None:
    tenant_id = str(uuid4())
    router = BrokerlessRouter(database, random.Random(seed))
    assert await router.lease.try_acquire()
    mail = contexts(tenant_id, 40, life_s=3600)
    for _ in range(120):
        await step(router, mail, tenant_id)
        check_windows(database, tenant_id)
        check_first_due(database, tenant_id)
    await finish(router, mail, tenant_id, database)
    await router.close()
    closed = Counter(one.message_id for one in router.events(MessageClosed))
    assert closed == Counter({one.message_id: 1 for one in mail})


async def test_a_lease_knows_how_long_nobody_held_it(database: FreshDatabase) -> None:
    """As after a jump of the database's clock."""
    async with opened(database.system("router")) as own:
        lease, successor = (Lease(own, "router", "idle", lease_s=60) for _ in range(2))
        assert await lease.try_acquire()
        assert not await successor.try_acquire()
        assert lease.idle_s == 0.0
        with database.connect() as owner:
            owner.execute("UPDATE router.leases SET expires_at = now() - interval '10 days'")
        assert await successor.try_acquire()
        assert await successor.try_acquire()
        assert 10 * 86_400 <= successor.idle_s < 10 * 86_400 + 600


def check_first_due(database: FreshDatabase, tenant_id: str) -> None:
    """The scheduler reads no message that is due before the first due time of its queue."""
    with database.connect() as connection:
        unread = connection.execute(
            "SELECT m.queue_id, m.due_at, q.first_due_at"
            " FROM router.messages AS m LEFT JOIN router.queues AS q USING (queue_id)"
            " WHERE state = 'queued' AND m.tenant_id = %s AND q.site <> 'unresolved'"
            " AND NOT coalesce(m.due_at >= q.first_due_at, false)",
            (tenant_id,),
        ).fetchall()
    assert not unread


def check_windows(database: FreshDatabase, tenant_id: str) -> None:
    with database.connect() as connection:
        [(assigned,)] = connection.execute(
            "SELECT count(*) FROM router.messages WHERE state = 'assigned' AND tenant_id = %s",
            (tenant_id,),
        ).fetchall()
    assert assigned <= IN_FLIGHT_MAX  # type: ignore[operator]


async def finish(
    router: BrokerlessRouter,
    mail: Sequence[MessageContext],
    tenant_id: str,
    database: FreshDatabase,
) -> None:
    """Screen, release and deliver all messages."""
    await router.screened.handle([record(screened(one)) for one in mail])
    await router.review(mail, REVIEW_RELEASED)
    for _ in range(100):
        await router.scheduler.tick()
        await asyncio.sleep(0.002)
        delivered = [
            DeliveryAttempted(
                message_id=one.message_id,
                attempt=one.attempt,
                tenant_id=tenant_id,
                outcome=ATTEMPT_OUTCOME_DELIVERED,
                connected=True,
            )
            for one in router.events(DeliveryAssigned)
        ]
        await router.attempted.handle([record(event) for event in delivered])
        with database.connect() as connection:
            query = (
                "SELECT count(*) FROM router.messages WHERE closed_at IS NULL AND tenant_id = %s"
            )
            if connection.execute(query, (tenant_id,)).fetchall() == [(0,)]:
                return
