"""Limits that an operator sets by RPC, on real PostgreSQL and Kafka."""

import asyncio
from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY
from contracts.ingest.v1.directory_pb2 import Mailbox
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from contracts.router.v1.policies_pb2 import LimitReached, LimitsChanged, PolicyCommand
from contracts.router.v1.policy_service_pb2 import ExecuteRequest, ListLimitsRequest
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from kernel.rpc import RpcClient
from kernel.topics import contract_of
from tests.support.records import all_of
from tests.support.router import TOKEN, WITHIN_S, RouterHarness, attempted, screened, until
from tests.support.stack import harness_fixture

harness = harness_fixture(RouterHarness, scope="function")
KEY, OTHER, FREE = (f"019ab000-0000-7000-8000-0000000000a{n}" for n in range(1, 4))


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


async def check_reached(harness: RouterHarness) -> None:
    """The limit is an event, however many ticks there are."""
    topic = harness.prefix + contract_of(LimitReached.DESCRIPTOR).topic.name
    reached: list[LimitReached] = []
    async with asyncio.timeout(WITHIN_S):
        while not reached:
            records = await all_of(topic, harness.bootstrap_servers)
            events = [LimitReached.FromString(one.value or b"") for one in records]
            reached = [one for one in events if one.tenant_id == harness.tenant_id]
    assert {(one.scope, one.limit, one.maximum) for one in reached} == {
        (f"api_key/{KEY}", "per_hour", 2)
    }
    assert len(reached) == len({one.period for one in reached})


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
        await check_reached(harness)

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


async def test_a_mailbox_waits_for_the_limit_of_its_tenant_or_of_an_operator(
    harness: RouterHarness,
) -> None:
    """The record of the directory changes the limit within a second, up and down."""
    client = RpcClient("router", harness.rpc_address, TOKEN)
    box = Mailbox(mailbox_id=KEY, tenant_id=harness.tenant_id, version=1, per_hour_max=2)
    async with harness.running():
        await harness.publish(box)
        await set_limits(client, f"mailbox/{OTHER}", per_hour=3)
        limited = [harness.context(mailbox_id=KEY) for _ in range(5)]
        by_operator = [harness.context(mailbox_id=OTHER) for _ in range(5)]
        free = [harness.context(mailbox_id=FREE) for _ in range(5)]
        await harness.publish(*map(screened, [*limited, *by_operator, *free]))
        await until(lambda: len(sent(harness, free)) == 5)
        await until(
            lambda: (len(sent(harness, limited)), len(sent(harness, by_operator))) == (2, 3)
        )
        queues = {harness.row(one.message_id, "queue_id") for one in limited}
        assert queues == {f"{harness.tenant_id}/site-a/mailbox={KEY}"}

        listed = await client.call(
            PolicyServiceStub(client.channel).ListLimits, ListLimitsRequest(), deadline_s=60.0
        )
        found = {one.scope: (one.maximum, one.used, one.set_by) for one in listed.limits}
        assert found[f"mailbox/{KEY}"] == (2, 2, "")
        assert found[f"mailbox/{OTHER}"] == (3, 3, "ann")

        box.version, box.per_hour_max = 2, 4
        await harness.publish(box)
        await until(lambda: len(sent(harness, limited)) == 4)
        box.version, box.deleted = 3, True
        await harness.publish(box)
        await until(lambda: len(sent(harness, limited)) == 5)
        assert len(sent(harness, by_operator)) == 3
