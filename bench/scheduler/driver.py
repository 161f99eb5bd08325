"""A scheduler that ticks on demand, with a time for each tick, and a receiver that takes all."""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import quantiles

from bench.scheduler.rows import SITE, tenant_prefix
from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1.events_pb2 import DeliveryAssigned
from contracts.router.v1.results_pb2 import RESULT_KIND_ATTEMPT, Result, Results
from kernel import clock
from kernel.crypto import SecretKeyring, new_secret_key
from kernel.database import PLANS, Database
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox
from services.router.domain.cell import Cell
from services.router.domain.dispatch import DispatchContext
from services.router.domain.events import timestamp
from services.router.domain.limits import Limits
from services.router.domain.message import CELL, ScheduledQueue
from services.router.domain.policies import (
    DEFAULT_POOL,
    ShapingPolicies,
    TenantPolicies,
    TenantRouting,
)
from services.router.domain.routes import MxHost, Route
from services.router.domain.shaping import ShapingRules, SiteLimits
from services.router.loops.received_results import SchedulerCallbacks
from services.router.loops.scheduler import Scheduler, SchedulerConfig
from services.router.store import results
from services.router.store.address_key import AddressHashKey

ROUTE = Route(SITE, (MxHost("127.0.0.1", 0, 25),))
CONFIG = SchedulerConfig(
    messages_max=500,
    queues_max=1000,
    target_s=0.03,
    interval_s=0.05,
    idle_interval_s=1.0,
    expire_interval_s=1.0,
    republish_after_s=60.0,
)

CLOSE = """
UPDATE router.messages SET state = 'delivered', closed_at = now(), assignment = NULL
WHERE message_id = ANY(%s::uuid[])
"""

SECRET_VARIABLE = "OBM_BENCH_SECRET_KEY"
SECRETS_TEXT = os.environ.get(SECRET_VARIABLE) or new_secret_key()
SECRETS = SecretKeyring([SECRETS_TEXT])  # of all schedulers, which share a database
OTHER_POOL, OTHER_GROUP = "00000000-0000-7000-8000-0000000000b1", 2  # of tenants


@dataclass(frozen=True, slots=True)
class Tick:
    """cpu_s: of this process alone. sent: messages that it published."""

    wall_s: float
    cpu_s: float
    sent: int


@dataclass(slots=True)
class Driver:
    """limits: of every tenant. sent: messages whose results have not been given back."""

    database: Database
    site_limits: SiteLimits
    limits: Limits = field(default_factory=Limits)
    sent: list[DeliveryAssigned] = field(default_factory=list)
    on_sent: Callable[[Sequence[DeliveryAssigned]], None] = lambda _: None
    cell: str = CELL
    lease: Lease = field(init=False)
    _scheduler: Scheduler | None = None
    _count: int = 0

    @property
    def scheduler(self) -> Scheduler:
        assert self._scheduler
        return self._scheduler

    async def start(self) -> None:
        self.lease = Lease(self.database, "router", self.cell, lease_s=3600)
        await self.lease.try_acquire()
        self._scheduler = Scheduler(
            self.lease,
            Outbox(self.database, "router", self._send),
            new_cell=self._new_cell,
            config=CONFIG,
            callbacks=SchedulerCallbacks(),
            health=DependencyHealth(),
            address_key=AddressHashKey(self.database, SECRETS),
        )

    def _new_cell(self) -> Cell:
        shaping = ShapingRules(self.site_limits, {})
        tenants = TenantPolicies(lambda tenant_id: TenantRouting(self.limits, pool_of(tenant_id)))
        context = DispatchContext(
            route_of=lambda _: ROUTE,
            pool_of=pool_of,
            shaping=shaping,
            sandbox=ROUTE,
            ehlo="bench.test",
            valid_s=120.0,
        )
        return Cell([tenants, ShapingPolicies(shaping)], context)

    async def _send(self, records: Sequence[Outgoing]) -> None:
        events = [DeliveryAssigned.FromString(one.value) for one in records]
        self._count += len(events)
        self.sent += events
        self.on_sent(events)

    async def tick(self) -> Tick:
        self._count = 0
        wall_s, cpu_s = clock.monotonic_s(), time.process_time()
        await self.scheduler.tick()
        return Tick(clock.monotonic_s() - wall_s, time.process_time() - cpu_s, self._count)

    async def ticks(self, number: int) -> list[Tick]:
        """Ticks with the results of what they sent between them."""
        done = []
        for _ in range(number):
            done.append(await self.tick())
            await self.deliver()
        return done

    async def drain(self) -> list[Tick]:
        """Ticks until nothing is sent."""
        done = [await self.tick()]
        while done[-1].sent:
            await self.deliver()
            done.append(await self.tick())
        return done

    async def deliver(self) -> None:
        """Give back the results of all messages that were sent, as the handler of attempts does."""
        sent, self.sent = self.sent, []
        async with self.database.transaction() as tx:
            await tx.execute(CLOSE, ([one.message_id for one in sent],))
            await results.append(tx, Results(results=map(delivered, sent)), self.cell)


def pool_of(tenant_id: str) -> str:
    return OTHER_POOL if tenant_id.startswith(tenant_prefix(OTHER_GROUP)) else DEFAULT_POOL


def delivered(event: DeliveryAssigned) -> Result:
    now = timestamp(clock.now().timestamp())
    return Result(
        kind=RESULT_KIND_ATTEMPT,
        queue_id=ScheduledQueue(event.context.tenant_id, SITE).queue_id,
        egress_id=event.egress_id,
        count=1,
        outcome=ATTEMPT_OUTCOME_DELIVERED,
        connected=True,
        assigned_at=now,
        answered_at=now,
    )


@asynccontextmanager
async def driver(
    url: str, site_limits: SiteLimits, limits: Limits | None = None, *, cell: str = CELL
) -> AsyncIterator[Driver]:
    """A scheduler that has taken over and ticked once."""
    database = Database(url, session=PLANS)
    try:
        one = Driver(database, site_limits, limits or Limits(), cell=cell)
        await one.start()
        yield one
        await one.lease.release()
    finally:
        await database.close()


def percentile_ms(seconds: Iterable[float], percent: int) -> float:
    listed = list(seconds)
    cut = quantiles(listed, n=100, method="inclusive") if len(listed) > 1 else listed * 99
    return round(cut[percent - 1] * 1000, 1)
