"""Pools and tenants move between two cells while mail flows: no limit is exceeded, and each message
closes once, whatever the owners and the handlers know of the directory at the time."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_TEMPORARY,
    DeliveryAttempted,
    Reply,
)
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed
from contracts.router.v1.policies_pb2 import LimitsChanged, PolicyCommand
from kernel import clock
from kernel.lease import Lease
from services.router.domain import counters
from services.router.domain.cell import Cell
from services.router.domain.events import timestamp
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.message import CELL
from services.router.domain.policies import DEFAULT_POOL, TenantRouting
from services.router.domain.shaping import SiteLimits
from services.router.loops import scheduler, tenant_claims
from services.router.loops.received_results import SchedulerCallbacks
from services.router.loops.scheduler import Scheduler, SchedulerConfig
from services.router.store import cells, commands
from tests.integration.test_router_states import ROUTE, BrokerlessRouter, contexts, record
from tests.support.memory_cell import create_cell
from tests.support.router import address_key_of, screened
from tests.support.stack import FreshDatabase, temporary_database

WEST = "west"
POOL = "00000000-0000-7000-8000-000000000011"
SOURCES = {
    DEFAULT_POOL: "00000000-0000-7000-8000-000000000002",  # of a new installation
    POOL: "00000000-0000-7000-8000-000000000012",
}
IN_FLIGHT_MAX = 5  # of a source at a site
UNLIMITED_STEPS = 50
SITE_PER_HOUR = 45
OUTCOMES = [ATTEMPT_OUTCOME_DELIVERED, ATTEMPT_OUTCOME_DELIVERED, ATTEMPT_OUTCOME_TEMPORARY]


class TwoCells(BrokerlessRouter):
    """known: by cell, the pool of each tenant as the directory of its owner has it. actual: as the
    directory has it."""

    def __init__(self, database: FreshDatabase, rng: random.Random) -> None:
        super().__init__(database, rng)
        self.actual: dict[str, str] = {}
        self.known: dict[str, dict[str, str]] = {CELL: {}, WEST: {}}
        self.limits = NO_LIMITS
        self.leases: dict[str, Lease] = {}
        self.owners: dict[str, Scheduler] = {}
        self.loaded: dict[str, Cell] = {}
        # Handlers know anything.
        self.notifier.directory.names = (CELL, WEST)
        self.notifier.directory.cells = {DEFAULT_POOL: WEST}
        self.notifier.directory.pool_of = lambda _: rng.choice([DEFAULT_POOL, POOL])

    async def own(self, cell: str) -> None:
        """A process takes the cell, or takes it over."""
        if cell in self.leases:
            await self.leases[cell].release()
        lease = self.leases[cell] = Lease(self.system_database, "router", cell, lease_s=600)
        assert await lease.try_acquire()
        self.owners[cell] = Scheduler(
            lease,
            self.outbox,
            new_cell=lambda: self.cell_of(cell),
            config=SchedulerConfig(20, 100, 1.0, 0, 0, 0, 60),
            callbacks=SchedulerCallbacks(),
            health=self.health,
            address_key=address_key_of(self.system_database),
        )

    def cell_of(self, cell: str) -> Cell:
        self.loaded[cell] = create_cell(
            lambda tenant_id: TenantRouting(self.limits, self.known[cell][tenant_id]),
            site_limits=SiteLimits(IN_FLIGHT_MAX),
            route_of=lambda _: ROUTE,
        )
        return self.loaded[cell]

    async def tick(self, cell: str) -> None:
        await self.owners[cell].tick()

    async def give(self, command: PolicyCommand) -> None:
        async with self.system_database.transaction() as tx:
            await commands.give(tx, command)

    async def move(self, pool_id: str, cell: str) -> None:
        async with self.system_database.transaction() as tx:
            await cells.start_move(tx, [pool_id], cell)

    def learn(self, cell: str, tenant_id: str) -> None:
        """The owner of the cell hears of the pool of a tenant."""
        self.known[cell][tenant_id] = self.actual[tenant_id]
        self.owners[cell].on_tenant_changed(tenant_id)

    def learn_all(self) -> None:
        for cell in self.owners:
            for tenant_id in self.actual:
                self.learn(cell, tenant_id)

    async def answer(self, number: int, outcomes: Sequence[Any] = OUTCOMES) -> None:
        """Results of assignments, some of which have one already."""
        assigned = self.events(DeliveryAssigned)
        chosen = self.rng.choices(assigned, k=min(len(assigned), number)) if assigned else []
        await self.attempted.handle([record(self.result(one, outcomes)) for one in chosen])

    def result(self, one: DeliveryAssigned, outcomes: Sequence[Any]) -> DeliveryAttempted:
        return DeliveryAttempted(
            message_id=one.message_id,
            attempt=one.attempt,
            tenant_id=one.context.tenant_id,
            recipient=one.context.recipient,
            outcome=(outcome := self.rng.choice(outcomes)),
            reply=Reply(code=250 if outcome == ATTEMPT_OUTCOME_DELIVERED else 450),
            connected=True,
        )


@pytest.fixture
def fresh(database_url: str, migrated_template: str) -> Iterator[FreshDatabase]:
    with temporary_database(database_url, template=migrated_template) as url:
        yield FreshDatabase(url)


@pytest.fixture(autouse=True)
def _without_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "SOURCES_INTERVAL_S", -1.0)  # in each tick
    monkeypatch.setattr(tenant_claims, "REQUEST_INTERVAL_S", 0.0)
    monkeypatch.setattr(counters, "UNLIMITED_SAVED_S", 600.0)  # by nothing but a move


@asynccontextmanager
async def two_cells(database: FreshDatabase, seed: int) -> AsyncIterator[TwoCells]:
    """With a pool and a source beside those of a new installation."""
    with database.connect() as connection:
        connection.execute("INSERT INTO router.pools (pool_id, name) VALUES (%s, 'p')", (POOL,))
        connection.execute(
            "INSERT INTO router.egress_sources (egress_id, pool_id, source_ip)"
            " VALUES (%s, %s, '127.0.0.2')",
            (SOURCES[POOL], POOL),
        )
    router = TwoCells(database, random.Random(seed))
    try:
        await router.own(CELL)
        async with router.system_database.transaction() as tx:
            assert await cells.add(tx, WEST)
        await router.own(WEST)
        yield router
    finally:
        for lease in router.leases.values():
            await lease.release()
        await router.close()


def site_limit(per_hour: int) -> PolicyCommand:
    now = timestamp(clock.now().timestamp())
    changed = LimitsChanged(scope="site/site", per_hour=per_hour, changed_at=now, changed_by="ann")
    return PolicyCommand(set_limits=changed)


async def step(router: TwoCells, mail: Sequence[MessageContext], *, with_takeovers: bool) -> None:
    rng = router.rng
    cell, tenant_id = rng.choice([CELL, WEST]), rng.choice(list(router.actual))
    match rng.randrange(12):
        case 0 | 1 | 2 | 3 | 4 | 5:
            await router.tick(cell)
        case 6 | 7:
            await router.answer(10)
        case 8:
            some = rng.sample(mail, 8)
            await router.screened.handle([record(screened(one)) for one in some])
        case 9:
            await router.move(rng.choice([DEFAULT_POOL, POOL]), cell)
        case 10:
            router.actual[tenant_id] = rng.choice([DEFAULT_POOL, POOL])
        case _:
            if with_takeovers and rng.random() < 0.3:
                await router.own(cell)
            router.learn(cell, tenant_id)


def check_limits(router: TwoCells, database: FreshDatabase) -> None:
    sent = sent_by_tenants(router)
    assert sent.total() <= SITE_PER_HOUR
    if router.limits.per_hour:
        assert max(sent.values(), default=0) <= router.limits.per_hour
    with database.connect() as connection:
        in_flight = connection.execute(
            "SELECT egress_id, count(*) FROM router.messages"
            " WHERE state = 'assigned' AND tenant_id = ANY(%s::uuid[]) GROUP BY 1",
            (list(router.actual),),
        ).fetchall()
    assert all(number <= IN_FLIGHT_MAX for _, number in in_flight)  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(6))
async def test_limits_hold_and_each_message_closes_once_while_pools_and_tenants_move(
    fresh: FreshDatabase, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async with two_cells(fresh, seed) as two:
        await move_and_send(two, fresh, save_at_once=partial(save_at_once, monkeypatch))
        closed = Counter(one.message_id for one in two.events(MessageClosed))
    assert closed == dict.fromkeys(closed, 1)
    assert len(closed) == 6 * 9


def save_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A takeover loses counters without a limit that are to be saved later."""
    monkeypatch.setattr(counters, "UNLIMITED_SAVED_S", 0.0)


async def move_and_send(
    two: TwoCells, database: FreshDatabase, *, save_at_once: Callable[[], None]
) -> None:
    tenants = [str(uuid4()) for _ in range(6)]
    two.actual = {one: two.rng.choice([DEFAULT_POOL, POOL]) for one in tenants}
    two.learn_all()
    mail = [one for tenant_id in tenants for one in contexts(tenant_id, 9, life_s=3600)]
    await two.give(site_limit(SITE_PER_HOUR))
    for cell in (CELL, WEST):
        await two.tick(cell)
    placed: set[tuple[object, ...]] = set()
    for number in range(180):
        if number == UNLIMITED_STEPS:  # what was sent without a limit counts, wherever it was
            two.limits = Limits(per_hour=max(sent_by_tenants(two).values(), default=0) + 2)
            two.learn_all()
            save_at_once()
            for cell in (CELL, WEST):
                await two.tick(cell)
        await step(two, mail, with_takeovers=number >= UNLIMITED_STEPS)
        check_limits(two, database)
        placed |= cells_of_pools(database)
    assert len(placed) >= 3  # of two pools in two cells
    await finish(two, mail, database)


def sent_by_tenants(router: TwoCells) -> Counter[str]:
    assigned = router.events(DeliveryAssigned)
    unique = {(one.message_id, one.attempt): one.context.tenant_id for one in assigned}
    return Counter(unique.values())


def cells_of_pools(database: FreshDatabase) -> set[tuple[object, ...]]:
    with database.connect() as connection:
        return set(connection.execute("SELECT pool_id, cell FROM router.pools").fetchall())


async def finish(router: TwoCells, mail: Sequence[MessageContext], database: FreshDatabase) -> None:
    """Without limits, everything is delivered."""
    router.limits = NO_LIMITS
    router.learn_all()
    await router.give(site_limit(0))
    await router.screened.handle([record(screened(one)) for one in mail])
    for _ in range(60):
        for cell in (CELL, WEST):
            await router.tick(cell)
        assigned = router.events(DeliveryAssigned)
        results = [router.result(one, [ATTEMPT_OUTCOME_DELIVERED]) for one in assigned]
        await router.attempted.handle([record(one) for one in results])
        with database.connect() as connection:
            query = "SELECT count(*) FROM router.messages WHERE closed_at IS NULL"
            if connection.execute(query).fetchall() == [(0,)]:
                return
