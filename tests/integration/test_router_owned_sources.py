"""Events about an egress source name who alone sends through its pool, on real PostgreSQL and
Kafka."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from contracts.router.v1.directory_pb2 import EgressSource
from contracts.router.v1.egress_service_pb2 import AddSourceRequest
from contracts.router.v1.egress_service_pb2_grpc import EgressServiceStub
from contracts.router.v1.policies_pb2 import WarmupChanged
from contracts.router.v1.policy_service_pb2 import AddPoolRequest
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from kernel.rpc import RpcClient
from kernel.topics import contract_of
from tests.support.records import all_of
from tests.support.router import TOKEN, WITHIN_S, RouterHarness
from tests.support.stack import harness_fixture

harness = harness_fixture(RouterHarness, scope="function")


async def test_a_new_source_of_a_dedicated_pool_has_its_owner_in_its_first_event(
    harness: RouterHarness,
) -> None:
    client = RpcClient("router", harness.rpc_address, TOKEN)

    async def call(method: Callable[..., Any], request: Any) -> Any:  # noqa: ANN401 - of each RPC
        return await client.call(method, request, deadline_s=60.0)

    async def add_source(address: str, pool_id: str = "") -> EgressSource:
        request = AddSourceRequest(pool_id=pool_id, addresses=[address], ramp="sparkpost")
        added = await call(EgressServiceStub(client.channel).AddSource, request)
        return added.source  # type: ignore[no-any-return]

    async with harness.running():
        policies = PolicyServiceStub(client.channel)
        pool = (await call(policies.AddPool, AddPoolRequest(name=str(uuid4())))).pool
    account_id, harness.tenant_id = str(uuid4()), str(uuid4())
    harness.limits = {"account_id": account_id, "pool_id": pool.pool_id}
    async with harness.running():
        own = await add_source("192.0.2.77", pool.pool_id)
        shared = await add_source("192.0.2.78")
        started = {
            own.egress_id: (account_id, harness.tenant_id, pool.pool_id, ["192.0.2.77"]),
            shared.egress_id: ("", "", shared.pool_id, ["192.0.2.78"]),
        }
        found: dict[str, Any] = {}
        async with asyncio.timeout(WITHIN_S):
            while not started.keys() <= found.keys():
                found = await changes(harness)
        assert {one: found[one] for one in started} == started
    await client.close()


async def changes(harness: RouterHarness) -> dict[str, tuple[str, str, str, list[str]]]:
    topic = harness.prefix + contract_of(WarmupChanged.DESCRIPTOR).topic.name
    records = await all_of(topic, harness.bootstrap_servers)
    events = [WarmupChanged.FromString(one.value or b"") for one in records]
    return {
        one.egress_id: (one.account_id, one.tenant_id, one.pool_id, list(one.addresses))
        for one in events
    }
