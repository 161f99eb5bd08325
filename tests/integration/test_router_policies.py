"""Warmups, overrides and standings survive a scheduler that dies between two steps of a tick."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1.policies_pb2 import PolicyCommand, WarmupChanged, WarmupCommand
from contracts.router.v1.results_pb2 import Results
from kernel.errors import Unavailable
from kernel.outbox import Outbox
from services.router.domain.cell import Cell
from services.router.domain.policy_engine import AdaptivePolicyRules
from services.router.domain.ramps import Ramp
from services.router.domain.shaping import SiteLimits
from services.router.loops import scheduler
from services.router.store import results
from tests.integration.test_router_scheduler import ROUTE, Replica
from tests.support.memory_cell import create_cell
from tests.support.router import until
from tests.support.stack import FreshDatabase, temporary_database

EGRESS = "00000000-0000-7000-8000-000000000002"  # of a new installation
RULES = AdaptivePolicyRules(ramps={"test": Ramp("test", "day", (200, 500), "the test")})
TYPE = WarmupChanged.DESCRIPTOR.full_name.encode()


class WarmingReplica(Replica):
    """changes: published events of warmups, by id, with the number of records."""

    def __init__(self, database: FreshDatabase) -> None:
        self.changes: dict[bytes, int] = {}
        super().__init__(database)

    def new_cell(self) -> Cell:
        self.cell = create_cell(
            lambda _: self.routing,
            site_limits=SiteLimits(100),
            route_of=lambda _: ROUTE,
            rules=RULES,
        )
        return self.cell

    async def send(self, records: Sequence[Outgoing]) -> None:
        if self.is_unavailable:
            raise Unavailable("kafka")
        for one in records:
            if one.headers["ce_type"] == TYPE:
                event_id = one.headers["ce_id"]
                self.changes[event_id] = self.changes.get(event_id, 0) + 1

    async def start_warmup(self) -> None:
        command = WarmupCommand(egress_id=EGRESS, action="start", ramp="test")
        async with self.system_database.transaction() as tx:
            await results.append(tx, Results(commands=[PolicyCommand(warmup=command)]))

    def per_day(self) -> int:
        state = self.cell.adaptive.warmups.state_of(EGRESS)
        return state.per_day if state else 0


@pytest.fixture
def fresh(database_url: str, migrated_template: str) -> Iterator[FreshDatabase]:
    with temporary_database(database_url, template=migrated_template) as url:
        yield FreshDatabase(url)


def saved_events(database: FreshDatabase) -> int:
    with database.connect() as connection:
        [count] = connection.execute("SELECT count(*) FROM router.policy_events").fetchone() or [0]
    assert isinstance(count, int)
    return count


async def test_a_decision_that_was_saved_and_not_published_is_published_by_the_next_scheduler(
    fresh: FreshDatabase,
) -> None:
    first, second = WarmingReplica(fresh), WarmingReplica(fresh)
    first.is_unavailable = True
    await first.start_warmup()
    async with first.running():
        await until(lambda: saved_events(fresh) == 1)
        async with second.running():
            await until(lambda: second.scheduler.is_leader and second.per_day() == 200)
            sweeper = Outbox(second.system_database, "router", second.send, sweep_after_s=0.0)
            while not second.changes:
                await sweeper.sweep()
                await asyncio.sleep(0.05)
    assert len(second.changes) == saved_events(fresh) == 1


async def test_a_decision_whose_transaction_fails_is_decided_again_once(
    fresh: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, failed = WarmingReplica(fresh), list[str]()

    def fail_once(name: str) -> None:
        if name == "router.tick.in_transaction" and replica.per_day() and not failed:
            failed.append(name)
            raise Unavailable("the database")

    monkeypatch.setattr(scheduler, "failpoint", fail_once)
    await replica.start_warmup()
    async with replica.running():
        await until(lambda: replica.changes)
    assert failed
    assert len(replica.changes) == saved_events(fresh) == 1
    assert replica.per_day() == 200
