"""Lists of a whole account, on real Kafka and PostgreSQL: all of its tenants, and nobody else's."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import router_service_pb2 as pb
from kernel.database import Database
from kernel.rpc import RpcError
from tests.support.router import RouterHarness, until
from tests.support.stack import harness_fixture

harness = harness_fixture(RouterHarness, scope="function")

MINE, OTHER = (str(uuid4()) for _ in "ab")
TENANTS = {account: sorted(str(uuid4()) for _ in range(3)) for account in (MINE, OTHER)}
QUEUE = """
INSERT INTO router.queues (queue_id, tenant_id, cell, site, next_at)
VALUES (%s, %s, 'default', 's1', now() + interval '1 hour')
"""
Call = Callable[..., Awaitable[Any]]


async def record_tenants(harness: RouterHarness) -> None:
    await harness.publish(
        *(
            Tenant(tenant_id=tenant, version=version, account_id=account)
            for account, tenants in TENANTS.items()
            for tenant in tenants
            for version in (1, 2)
        )
    )

    def are_known() -> bool:
        with harness.database.connect() as owner:
            query = "SELECT count(*) FROM router.tenant_accounts WHERE account_id = ANY(%s::uuid[])"
            [(known,)] = owner.execute(query, ([MINE, OTHER],)).fetchall()
        return known == 6

    await until(are_known)


async def add_suppressions(call: Call, stub: Any) -> list[tuple[str, str]]:  # noqa: ANN401
    """Of the tenants of MINE in turn, as (id, tenant), oldest first."""
    added = []
    for name in ("a", "b"):
        for tenant in (*TENANTS[MINE], TENANTS[OTHER][0]):
            request = pb.AddSuppressionsRequest(
                tenant_id=tenant,
                suppressions=[
                    pb.NewSuppression(address=f"{one}@x.example") for one in (name, "same")
                ],
            )
            [one, _] = (await call(stub.AddSuppressions, request)).suppressions
            added.append((one.id, one.tenant_id))
    return [one for one in added if one[1] in TENANTS[MINE]]


async def test_an_account_lists_the_suppressions_of_all_its_tenants(
    harness: RouterHarness,
) -> None:
    async with harness.running(), harness.rpc() as (call, stub):
        await record_tenants(harness)
        added = await add_suppressions(call, stub)

        async def page(**fields: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - a protobuf's
            request = pb.ListSuppressionsRequest(account_id=MINE, limit=100, **fields)
            found = (await call(stub.ListSuppressions, request)).suppressions
            return [(one.id, one.tenant_id) for one in found]

        everything = await page()
        assert everything == sorted(everything, reverse=True)
        assert len(everything) == 9
        assert set(added) < set(everything)
        same = await page(address="same@x.example")
        assert [tenant for _, tenant in same] == TENANTS[MINE][::-1]
        assert await page(after=everything[4][0]) == everything[5:]
        assert await page(before=everything[4][0]) == everything[:4]
        one = pb.ListSuppressionsRequest(account_id=MINE, limit=1, before=everything[4][0])
        nearest = await call(stub.ListSuppressions, one)
        assert [found.id for found in nearest.suppressions] == [everything[3][0]]
        assert nearest.has_more


async def test_an_account_lists_the_suppression_of_a_tenant_that_is_new_here(
    harness: RouterHarness,
) -> None:
    async with harness.running(), harness.rpc() as (call, stub):
        account, tenant = str(uuid4()), str(uuid4())
        request = pb.AddSuppressionsRequest(
            tenant_id=tenant,
            account_id=account,
            suppressions=[pb.NewSuppression(address="a@x.example")],
        )
        await call(stub.AddSuppressions, request)
        listed = await call(stub.ListSuppressions, pb.ListSuppressionsRequest(account_id=account))
        assert [one.tenant_id for one in listed.suppressions] == [tenant]


async def test_an_account_pages_through_the_queues_of_all_its_tenants(
    harness: RouterHarness,
) -> None:
    async with harness.running(), harness.rpc() as (call, stub):
        await record_tenants(harness)
        with harness.database.connect() as owner:
            for tenant in (TENANTS[MINE][0], TENANTS[MINE][2], *TENANTS[OTHER]):
                for site in ("s1", "s2", "s3"):
                    owner.execute(QUEUE, (f"{tenant}/{site}", tenant))
        seen, after, has_more = [], "", True
        while has_more:
            request = pb.ListQueuesRequest(account_id=MINE, limit=2, after=after)
            found = await call(stub.ListQueues, request)
            seen += [(one.id, one.tenant_id) for one in found.queues]
            after, has_more = seen[-1][0], found.has_more
        assert seen == [
            (f"{tenant}/{site}", tenant)
            for tenant in (TENANTS[MINE][0], TENANTS[MINE][2])
            for site in ("s1", "s2", "s3")
        ]
        with pytest.raises(RpcError, match="not a UUID"):
            await call(stub.ListQueues, pb.ListQueuesRequest(account_id=MINE, after="x/s1"))


async def test_the_tenant_role_sees_an_account_without_any_condition(
    harness: RouterHarness,
) -> None:
    async with harness.running(), harness.rpc() as (call, stub):
        await record_tenants(harness)
        await add_suppressions(call, stub)
        database = Database(harness.database.tenant("router"))
        for table, owner in (("suppressions", "owner_id"), ("tenant_accounts", "tenant_id")):
            query = f"SELECT DISTINCT {owner}::text FROM router.{table}"
            async with database.transaction(account_id=MINE) as tx:
                assert {tenant for (tenant,) in await tx.rows(query)} == set(TENANTS[MINE])
            async with database.transaction(account_id=str(uuid4())) as tx:
                assert await tx.rows(query) == []
            async with database.transaction() as tx:
                assert await tx.rows(query) == []
        await database.close()
