"""Messages wait for limits, windows, DNS and a new scheduler."""

import asyncio
from uuid import uuid4

import pytest

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.topics import event_id
from services.router.domain import blocking_scopes
from tests.support.router import RouterHarness, attempted, screened, until
from tests.support.stack import harness_fixture

harness = harness_fixture(RouterHarness, scope="function")


def assigned_of(harness: RouterHarness) -> list[DeliveryAssigned]:
    return [
        event
        for event in harness.events
        if isinstance(event, DeliveryAssigned) and event.context.tenant_id == harness.tenant_id
    ]


async def test_an_hourly_limit_blocks_the_queue_until_it_has_capacity(
    harness: RouterHarness,
) -> None:
    harness.limits = {"per_hour_max": 5}
    async with harness.running(), harness.rpc() as (call, stub):
        contexts = [harness.context() for _ in range(12)]
        await harness.publish(*(screened(context) for context in contexts))
        await until(lambda: len(assigned_of(harness)) == 5)
        await asyncio.sleep(0.5)
        assert len(assigned_of(harness)) == 5
        left = {e.message_id for e in contexts} - {e.message_id for e in assigned_of(harness)}
        seen = await call(
            stub.GetStates,
            pb.GetStatesRequest(tenant_id=harness.tenant_id, message_ids=sorted(left)),
        )
        assert {(s.state, s.queued_reason) for s in seen.states} == {("queued", "per_hour")}
        now_s = clock.now().timestamp()
        assert all(now_s < s.due_at.seconds < now_s + 4000 for s in seen.states), seen
        queues = await call(stub.ListQueues, pb.ListQueuesRequest(tenant_id=harness.tenant_id))
        assert [(q.limited_by, q.limit_scope, q.queued) for q in queues.queues] == [
            ("per_hour", "tenant", 7)
        ]
        await harness.publish(Tenant(tenant_id=harness.tenant_id, version=3))
        await until(lambda: len(assigned_of(harness)) == 12)


async def test_a_full_window_assigns_one_for_every_attempt_result(harness: RouterHarness) -> None:
    harness.extra = {"in_flight_max": 2}

    async with harness.running():
        await harness.publish(*(screened(harness.context("a@site-b.test")) for _ in range(6)))
        await until(lambda: len(assigned_of(harness)) == 2)
        await asyncio.sleep(0.4)
        assert len(assigned_of(harness)) == 2
        completed = 0
        while completed < 6:
            for event in assigned_of(harness)[completed:]:
                await harness.publish(attempted(event))
                completed += 1
            await until(lambda done=completed: len(assigned_of(harness)) == min(6, done + 2))  # type: ignore[misc]


async def test_results_on_another_replica_wake_the_scheduler(
    harness: RouterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would otherwise look after the idle interval: too late for 24 messages, one by one."""
    harness.extra = {"in_flight_max": 1, "tick_idle_interval_s": 20.0}
    monkeypatch.setattr(blocking_scopes, "RECHECK_S", 600.0)

    second = RouterHarness(
        harness.bootstrap_servers, harness.prefix, harness.database, harness.folder,
        extra=harness.extra, tenant_id=harness.tenant_id,
    )  # fmt: skip
    answered: set[str] = set()

    def unanswered() -> dict[str, DeliveryAssigned]:
        """By message: an event may be published twice."""
        assigned = {event.message_id: event for event in assigned_of(harness)}
        return {key: event for key, event in assigned.items() if key not in answered}

    async with harness.running(), second.running():
        await harness.publish(*(screened(harness.context("a@site-b.test")) for _ in range(24)))
        while len(answered) < 24:
            await until(unanswered)
            for message_id, event in unanswered().items():
                answered.add(message_id)
                await harness.publish(attempted(event))


async def test_a_new_scheduler_counts_the_messages_in_flight_of_the_previous_one(
    harness: RouterHarness,
) -> None:
    harness.extra = {"in_flight_max": 3}

    async with harness.running():
        await harness.publish(*(screened(harness.context("b@site-b.test")) for _ in range(5)))
        await until(lambda: len(assigned_of(harness)) == 3)
    mine = assigned_of(harness)
    harness.events.clear()
    async with harness.running():
        await asyncio.sleep(1)
        before = {event_id(event) for event in mine}
        assert {event_id(event) for event in assigned_of(harness)} <= before
        await harness.publish(attempted(mine[0]))
        await until(lambda: {event_id(event) for event in assigned_of(harness)} - before)


async def test_a_message_waits_while_its_domain_cannot_be_resolved(harness: RouterHarness) -> None:
    async with harness.running(), harness.rpc() as (call, stub):
        context = harness.context("ann@no-name-server.test")
        await harness.publish(screened(context))

        async def reason() -> str:
            request = pb.GetStatesRequest(
                tenant_id=harness.tenant_id, message_ids=[context.message_id]
            )
            seen = await call(stub.GetStates, request)
            return str(seen.states[0].queued_reason) if seen.states else ""

        while not (await reason()).startswith("dns: "):
            await asyncio.sleep(0.05)


async def test_two_replicas_assign_every_message_once(harness: RouterHarness) -> None:
    async with harness.running():
        second = RouterHarness(
            harness.bootstrap_servers, harness.prefix, harness.database, harness.folder,
            tenant_id=harness.tenant_id,
        )  # fmt: skip
        async with second.running():
            contexts = [harness.context() for _ in range(20)]
            await harness.publish(*(screened(context) for context in contexts))
            await until(lambda: len(assigned_of(harness)) == 20)
            assert len({event_id(event) for event in assigned_of(harness)}) == 20
            for event in assigned_of(harness)[:5]:
                await harness.publish(attempted(event, ATTEMPT_OUTCOME_TEMPORARY, code=451))


async def test_more_active_queues_than_one_tick_reads_are_all_served(
    harness: RouterHarness,
) -> None:
    harness.extra = {"tick_queues_max": 2, "tick_messages_max": 3}

    async with harness.running():
        tenants = [str(uuid4()) for _ in range(5)]
        mail = [
            harness.context(recipient, tenant_id=tenant_id)
            for tenant_id in tenants
            for recipient in ("a@x.site-a.test", "b@site-b.test") * 3
        ]
        await harness.publish(*(Tenant(tenant_id=one, version=1) for one in tenants))
        await harness.publish(*(screened(context) for context in mail))
        for context in mail:
            await harness.wait_for(DeliveryAssigned, context.message_id)


async def test_the_rate_of_a_tenant_holds_in_every_second(harness: RouterHarness) -> None:
    harness.limits = {"per_second_max": 10}
    async with harness.running():
        await harness.publish(*(screened(harness.context()) for _ in range(30)))
        await until(lambda: len(assigned_of(harness)) == 30)
        not_after_s = sorted(
            event.not_after.seconds + event.not_after.nanos / 1e9 for event in assigned_of(harness)
        )
        tenth_after = zip(not_after_s, not_after_s[10:], strict=False)
        assert all(later - earlier >= 0.999 for earlier, later in tenth_after)
