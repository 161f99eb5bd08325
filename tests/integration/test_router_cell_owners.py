"""Two processes of router share two cells: mail of both flows, pools move, and an owner that stops
is replaced."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.events_pb2 import DeliveryAssigned
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from services.router.domain.policies import DEFAULT_POOL
from tests.support.router import RouterHarness, attempted, screened, until
from tests.support.stack import harness_fixture

WEST = "west"

harness = harness_fixture(RouterHarness, scope="function")


class Installation:
    """Two processes, with a pool and a tenant beside those of a new installation. address: of
    the source of the pool."""

    def __init__(self, first: RouterHarness, address: str) -> None:
        self.first, self.address = first, address
        self.second = RouterHarness(
            first.bootstrap_servers, first.prefix, first.database, first.folder,
            tenant_id=first.tenant_id,
        )  # fmt: skip
        self.other_tenant = str(uuid4())
        self.pool_id = ""

    async def add_pool(self) -> None:
        async with self.first.rpc(PolicyServiceStub) as (call, stub):
            pool = (await call(stub.AddPool, pb.AddPoolRequest(name=self.other_tenant))).pool
        self.pool_id = pool.pool_id
        with self.first.database.connect() as connection:
            connection.execute(
                "INSERT INTO router.egress_sources (egress_id, pool_id, source_ip)"
                " VALUES (gen_random_uuid(), %s, %s)",
                (self.pool_id, self.address),
            )
        await self.first.publish(
            Tenant(tenant_id=self.other_tenant, version=1, pool_id=self.pool_id)
        )

    async def add_cell(self) -> None:
        async with self.first.rpc(PolicyServiceStub) as (call, stub):
            if not (await call(stub.ListCells, pb.ListCellsRequest())).cells[1:]:
                await call(stub.AddCell, pb.AddCellRequest(cell=WEST))
        await until(lambda: self.owner_of(WEST))

    async def move(self, pool_id: str, cell: str) -> None:
        async with self.first.rpc(PolicyServiceStub) as (call, stub):
            await call(stub.ChangePool, pb.ChangePoolRequest(pool_id=pool_id, cell=cell))
        await until(lambda: self.cell_of(pool_id) == cell)

    def cell_of(self, pool_id: str) -> object:
        return self._row("SELECT cell FROM router.pools WHERE pool_id = %s", pool_id)

    def owner_of(self, cell: str) -> object:
        return self._row(
            "SELECT owner FROM router.leases WHERE name = %s AND expires_at > now()", cell
        )

    def _row(self, query: str, value: str) -> object:
        with self.first.database.connect() as connection:
            found = connection.execute(query, (value,)).fetchone()
        return found[0] if found else None

    async def deliver(self, number: int) -> None:
        """Messages of each tenant reach their end."""
        for tenant_id in (self.first.tenant_id, self.other_tenant):
            await self._deliver(tenant_id, number)

    async def _deliver(self, tenant_id: str, number: int) -> None:
        sent = [self.first.context("a@site-b.test", tenant_id=tenant_id) for _ in range(number)]
        await self.first.publish(*map(screened, sent))
        for one in sent:
            [assigned, *_] = await self.first.wait_for(DeliveryAssigned, one.message_id)
            await self.first.publish(attempted(assigned))
            await self.first.wait_for_state(one.message_id, "delivered")
        assert [len(self.first.received(DeliveryAssigned, one.message_id)) for one in sent] == [
            1
        ] * number


async def test_two_processes_own_a_cell_each_and_pools_move_between_them(
    harness: RouterHarness,
) -> None:
    both = Installation(harness, "127.0.0.91")
    async with harness.running():
        await both.add_pool()
        await both.deliver(2)
        await both.add_cell()
        await both.move(both.pool_id, WEST)
        await both.deliver(2)
        async with both.second.running():
            await until(differ(both))
            await both.deliver(2)
            await both.move(DEFAULT_POOL, WEST)
            await both.move(both.pool_id, "default")
            await both.deliver(2)
        await until(lambda: both.owner_of("default") == both.owner_of(WEST))
        await both.deliver(2)
        await both.move(DEFAULT_POOL, "default")
        await both.deliver(1)


def differ(both: Installation) -> Callable[[], bool]:
    """Whether each cell has an owner of its own."""

    def condition() -> bool:
        owners = both.owner_of("default"), both.owner_of(WEST)
        return all(owners) and owners[0] != owners[1]

    return condition


async def test_a_tenant_moves_to_the_cell_of_its_new_pool(harness: RouterHarness) -> None:
    both = Installation(harness, "127.0.0.92")
    async with harness.running():
        await both.add_pool()
        await both.add_cell()
        await both.move(both.pool_id, WEST)
        waiting = harness.context("a@site-b.test")
        await harness.publish(screened(waiting))
        [assigned] = await harness.wait_for(DeliveryAssigned, waiting.message_id)
        moved = Tenant(tenant_id=harness.tenant_id, version=2, pool_id=both.pool_id)
        await harness.publish(moved)
        later = harness.context("a@site-b.test")
        await harness.publish(screened(later))
        await asyncio.sleep(1)
        assert not harness.received(DeliveryAssigned, later.message_id)
        await harness.publish(attempted(assigned))
        [assigned] = await harness.wait_for(DeliveryAssigned, later.message_id)
        assert harness.row(later.message_id, "cell") == WEST
        await harness.publish(attempted(assigned))
        await harness.wait_for_state(later.message_id, "delivered")
