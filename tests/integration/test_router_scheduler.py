"""Which replica schedules when the broker is unavailable for some replicas, or for all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED
from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS, Priority
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1.events_pb2 import DeliveryAssigned
from contracts.router.v1.results_pb2 import RESULT_KIND_ATTEMPT, Result, Results
from kernel import clock, metrics
from kernel.database import Database, Params, Row, Transaction
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox
from services.router.domain.cell import Cell
from services.router.domain.events import timestamp
from services.router.domain.limits import HOUR, Limits
from services.router.domain.message import MessageRowState
from services.router.domain.new_messages import new_message
from services.router.domain.policies import TenantRouting
from services.router.domain.routes import MxHost, Route
from services.router.domain.shaping import SiteLimits
from services.router.loops import scheduler
from services.router.loops.received_results import SchedulerCallbacks
from services.router.loops.scheduler import Scheduler, SchedulerConfig
from services.router.store import results
from services.router.store.day_partitions import DayPartitions
from services.router.store.new_messages import insert_messages
from tests.support.memory_cell import create_cell
from tests.support.router import address_key_of, context_of, until
from tests.support.stack import FreshDatabase

ROUTE = Route("site", (MxHost("127.0.0.1", 0, 25),))

COUNTERS = 12_000
INSERT_COUNTERS = """
INSERT INTO router.counters (cell, scope, window_key, value, expires_at)
SELECT 'default', %s || n, 'per_hour/' || %s, 5, now() + interval '1 hour'
FROM generate_series(1, %s) AS n
"""


class Replica:
    """Lease, outbox and scheduler of one replica, with a broker that can fail. published: message
    ids."""

    def __init__(
        self,
        database: FreshDatabase,
        *,
        lease_s: float = 0.3,
        route: Route = ROUTE,
        in_flight_max: int = 100,
    ) -> None:
        self.system_database = Database(database.system("router"))
        self.is_unavailable = False
        self.takes_bulk = asyncio.Event()  # while it is not set, the broker keeps bulk mail waiting
        self.takes_bulk.set()
        self.published: list[str] = []
        self.routing = TenantRouting()
        self.route, self.in_flight_max = route, in_flight_max
        self.cell = self.new_cell()
        self.lease = Lease(
            self.system_database,
            "router",
            "default",
            lease_s=lease_s,
            publish_timeout_s=lease_s / 3,
        )
        self.scheduler = Scheduler(
            self.lease,
            Outbox(self.system_database, "router", self.send),
            new_cell=self.new_cell,
            config=SchedulerConfig(20, 100, 1.0, 0.01, 0.05, 0, 60),
            callbacks=SchedulerCallbacks(),
            health=DependencyHealth(),
            address_key=address_key_of(self.system_database),
        )

    def new_cell(self) -> Cell:
        self.cell = create_cell(
            lambda _: self.routing,
            site_limits=SiteLimits(self.in_flight_max),
            route_of=lambda _: self.route,
        )
        return self.cell

    async def send(self, records: Sequence[Outgoing]) -> None:
        if self.is_unavailable:
            raise Unavailable("kafka")
        assigned = [one.value for one in records if "delivery-assigned" in one.topic]
        events = [DeliveryAssigned.FromString(one) for one in assigned]
        if any(one.priority == PRIORITY_BULK for one in events):
            await self.takes_bulk.wait()
        self.published += [one.message_id for one in events]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(loop()) for loop in (self.lease.maintain, self.scheduler.run)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.lease.release()
            await self.system_database.close()

    async def wait_until_follower(self) -> None:
        await until(lambda: not self.scheduler.is_leader)

    async def admit(
        self,
        *,
        in_s: float = 0.0,
        tenant_id: str = "",
        priority: Priority.ValueType = PRIORITY_EXPRESS,
    ) -> str:
        """Insert a message that is due then. Returns its id."""
        due_at = timestamp(clock.now().timestamp() + in_s)
        context = context_of(
            "ann@site.test",
            tenant_id=tenant_id or str(uuid4()),
            due_at=due_at,
            priority=priority,
        )
        async with self.system_database.transaction() as tx:
            await DayPartitions().create_missing_days(tx, [context.message_id])
            await insert_messages(
                tx,
                [new_message(context, MessageRowState.QUEUED, site_of=lambda _: self.route.site)],
            )
        return context.message_id


async def test_a_scheduler_without_the_broker_yields_the_cell_to_one_with_it(
    database: FreshDatabase,
) -> None:
    first, second = Replica(database), Replica(database)
    first.is_unavailable = True
    async with first.running():
        await until(lambda: first.scheduler.is_leader)
        await first.admit()
        async with second.running():
            await until(lambda: second.scheduler.is_leader)
            assert not first.scheduler.is_leader
            later = await second.admit()
            await until(lambda: later in second.published)


async def test_everything_is_published_when_the_broker_is_available_again(
    database: FreshDatabase,
) -> None:
    first, second = Replica(database), Replica(database)
    first.is_unavailable = second.is_unavailable = True
    async with first.running(), second.running():
        messages = set()
        for _ in range(2):  # one for each that becomes the scheduler
            await until(lambda: first.scheduler.is_leader or second.scheduler.is_leader)
            messages.add(await first.admit())
            stuck = first if first.scheduler.is_leader else second
            await stuck.wait_until_follower()
        assert not first.scheduler.is_leader
        assert not second.scheduler.is_leader
        first.is_unavailable = second.is_unavailable = False
        await until(lambda: messages <= {*first.published, *second.published})
        await until(lambda: first.scheduler.is_leader or second.scheduler.is_leader)


async def test_a_new_scheduler_reads_the_counters_in_pages(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, page_sizes = clock.now().timestamp(), [0]
    with database.connect() as connection:
        for kind in ("site/", "tenant/"):
            connection.execute(INSERT_COUNTERS, (kind, HOUR.bucket(now_s), COUNTERS))
    rows = Transaction.rows

    async def record_size(tx: Transaction, sql: str, params: Params = None) -> list[Row]:
        found = await rows(tx, sql, params)
        page_sizes.append(len(found))
        return found

    monkeypatch.setattr(Transaction, "rows", record_size)

    replica = Replica(database, lease_s=30)
    async with replica.running():
        message = await replica.admit()
        await until(lambda: message in replica.published)
    assert len(replica.cell.scopes.ledger) >= COUNTERS  # of sites
    assert len(replica.cell.scopes.ledger) < 2 * COUNTERS  # those of tenants come with their mail
    assert max(page_sizes) <= 5_000


async def test_what_a_tenant_has_used_is_loaded_with_its_mail(database: FreshDatabase) -> None:
    tenant_id, now_s = str(uuid4()), clock.now().timestamp()
    with database.connect() as connection:
        one = "INSERT INTO router.counters VALUES ('default', %s, %s, 5, now() + interval '1 hour')"
        connection.execute(one, (f"tenant/{tenant_id}", f"per_hour/{HOUR.bucket(now_s)}"))
    replica = Replica(database, lease_s=30)
    replica.routing = TenantRouting(Limits(per_hour=7))
    async with replica.running():
        messages = [await replica.admit(tenant_id=tenant_id) for _ in range(4)]
        await until(lambda: len(replica.published) == 2)
        await until(lambda: has_blocked_queue(database))
        assert set(replica.published) < set(messages)
    second = Replica(database, lease_s=30)  # which checks the scope that blocks the queue
    second.routing = TenantRouting(Limits(per_hour=8))
    async with second.running():
        await until(lambda: len(second.published) == 1)
        await until(lambda: has_blocked_queue(database))


@pytest.mark.parametrize(
    "busy", [False, True], ids=["idle", "while queues are unblocked in every tick"]
)
async def test_blocked_messages_are_sent_after_their_tenant_moves_to_another_pool(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch, *, busy: bool
) -> None:
    async def always_wake(*_: object) -> bool:
        return True

    if busy:
        monkeypatch.setattr(scheduler, "unblock_queues", always_wake)

    replica = Replica(database, lease_s=30)
    replica.routing = TenantRouting(pool_id=str(uuid4()))  # without an address
    async with replica.running():
        message = await replica.admit()
        await until(lambda: has_blocked_queue(database))
        replica.routing = TenantRouting()
        await until(lambda: message in replica.published)


def has_blocked_queue(database: FreshDatabase) -> bool:
    with database.connect() as connection:
        return connection.execute("SELECT FROM router.queues WHERE blocked_by <> ''").rowcount > 0


def state_of(database: FreshDatabase, message_id: str) -> str:
    with database.connect() as connection:
        found = connection.execute(
            "SELECT state FROM router.messages WHERE message_id = %s", (message_id,)
        )
        [(state,)] = found.fetchall()
        return str(state)


async def report_delivered(replica: Replica, message_id: str) -> None:
    """The result that frees the capacity of a message."""
    async with replica.system_database.transaction() as tx:
        [(queue_id, egress_id)] = await tx.rows(
            "SELECT queue_id, egress_id FROM router.messages WHERE message_id = %s", (message_id,)
        )
        result = Result(
            kind=RESULT_KIND_ATTEMPT,
            queue_id=queue_id,
            egress_id=egress_id,
            count=1,
            outcome=ATTEMPT_OUTCOME_DELIVERED,
            connected=True,
        )
        await results.append(tx, Results(results=[result]))


async def test_queues_of_a_tenant_that_moves_to_another_pool_are_unblocked_by_its_record(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(Scheduler, "_check_blocked", never)

    replica = Replica(database, lease_s=30)
    replica.routing = TenantRouting(pool_id=str(uuid4()))  # without an address
    async with replica.running():
        message = await replica.admit()
        await until(lambda: has_blocked_queue(database))
        replica.routing = TenantRouting()
        with database.connect() as connection:
            [(tenant_id,)] = connection.execute(
                "SELECT tenant_id::text FROM router.messages WHERE message_id = %s", (message,)
            ).fetchall()
        replica.scheduler.on_tenant_changed(str(tenant_id))
        await until(lambda: message in replica.published)


def ticks_so_far() -> float:
    name, labels = "obm_scheduler_ticks_total", {"cell": "default"}
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def test_a_message_that_becomes_due_later_is_assigned_then(database: FreshDatabase) -> None:
    ticks = ticks_so_far()
    replica = Replica(database, lease_s=30)
    async with replica.running():
        message = await replica.admit(in_s=0.5)
        await until(lambda: message in replica.published)
    assert ticks_so_far() > ticks


async def test_mail_that_becomes_due_does_not_wait_for_the_broker_to_take_bulk_mail(
    database: FreshDatabase,
) -> None:
    replica = Replica(database, lease_s=300)
    replica.takes_bulk.clear()
    bulk = await replica.admit(priority=PRIORITY_BULK)
    express = await replica.admit(in_s=1.0)
    async with replica.running():
        await until(lambda: state_of(database, bulk) == "assigned")
        await until(lambda: express in replica.published)
        assert bulk not in replica.published


async def test_freed_capacity_does_not_wait_for_the_broker_to_take_bulk_mail(
    database: FreshDatabase,
) -> None:
    own = Route("full", ROUTE.mx_hosts)  # no other test has messages in flight there
    replica = Replica(database, lease_s=300, route=own, in_flight_max=1)
    replica.takes_bulk.clear()
    bulk = await replica.admit(priority=PRIORITY_BULK)
    async with replica.running():
        await until(lambda: state_of(database, bulk) == "assigned")
        express = await replica.admit()
        replica.scheduler.wake()
        await until(lambda: has_blocked_queue(database))
        await report_delivered(replica, bulk)
        replica.scheduler.on_results()
        await until(lambda: express in replica.published)
        assert bulk not in replica.published
