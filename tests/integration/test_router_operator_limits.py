"""Limits that an operator sets by RPC, on real PostgreSQL and Kafka."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from contracts.router.v1.policies_pb2 import LimitsChanged, PolicyCommand
from contracts.router.v1.policy_service_pb2 import ExecuteRequest, ListLimitsRequest
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from kernel.rpc import RpcClient
from tests.support.router import TOKEN, RouterHarness, attempted, screened, until
from tests.support.stack import harness_fixture

harness = harness_fixture(RouterHarness, scope="function")
KEY, OTHER = "019ab000-0000-7000-8000-0000000000a1", "019ab000-0000-7000-8000-0000000000a2"


async def set_limits(client: RpcClient, scope: str, per_hour: int = 0) -> None:
    now = Timestamp()
    now.GetCurrentTime()
    change = LimitsChanged(scope=scope, changed_at=now, changed_by="ann", per_hour=per_hour)
    request = ExecuteRequest(command=PolicyCommand(set_limits=change))
    await client.call(PolicyServiceStub(client.channel).Execute, request, deadline_s=60.0)


def sent(harness: RouterHarness, contexts: Sequence[MessageContext]) -> list[DeliveryAssigned]:
    ids = {one.message_id for one in contexts}
    found = [one for one in harness.events if isinstance(one, DeliveryAssigned)]
    return [one for one in found if one.message_id in ids]


async def test_a_limited_key_waits_in_a_queue_of_its_own_until_the_limit_is_removed(
    harness: RouterHarness,
) -> None:
    client = RpcClient("router", harness.rpc_address, TOKEN)
    async with harness.running():
        await set_limits(client, f"api_key/{KEY}", per_hour=2)
        limited = [harness.context(api_key_id=KEY) for _ in range(5)]
        free = [harness.context(api_key_id=OTHER) for _ in range(5)]
        await harness.publish(*map(screened, [*limited, *free]))
        await until(lambda: len(sent(harness, free)) == 5 and len(sent(harness, limited)) == 2)
        queues = {harness.row(one.message_id, "queue_id") for one in limited}
        assert queues == {f"{harness.tenant_id}/site-a/key={KEY}"}

        first = sent(harness, limited)[0]
        await harness.publish(attempted(first, ATTEMPT_OUTCOME_TEMPORARY, code=450))
        await harness.wait_for_state(first.message_id, "queued")
        retried = f"{harness.tenant_id}/site-a@{first.egress_id}/key={KEY}"
        assert harness.row(first.message_id, "queue_id") == retried

        stub = PolicyServiceStub(client.channel)
        listed = await client.call(stub.ListLimits, ListLimitsRequest(), deadline_s=60.0)
        [usage] = [one for one in listed.limits if one.scope == f"api_key/{KEY}"]
        assert (usage.limit, usage.maximum, usage.used, usage.set_by) == ("per_hour", 2, 2, "ann")

        await set_limits(client, f"api_key/{KEY}")
        await until(lambda: len({one.message_id for one in sent(harness, limited)}) == 5)
    await client.close()
