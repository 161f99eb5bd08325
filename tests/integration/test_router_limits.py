"""What limits a message: caps, windows, names that cannot be resolved, and owners that change."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.delivery.v1.events_pb2 import OUTCOME_TEMPORARY
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.topics import event_id
from tests.support.pair import FreshDatabase
from tests.support.router import House, attempted, play, screened, until


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    return House(bootstrap_servers, topic_prefix, database, tmp_path)


def assigned_of(house: House) -> list[DeliveryAssigned]:
    return [
        event
        for event in house.told
        if isinstance(event, DeliveryAssigned) and event.envelope.tenant_id == house.tenant_id
    ]


def test_an_hourly_cap_holds_the_rest_back_and_says_until_when(house: House) -> None:
    async def story() -> None:
        async with house.running(), house.rpc() as (ask, stub):
            await house.publish(Tenant(tenant_id=house.tenant_id, version=2, per_hour_max=5))
            await asyncio.sleep(0.5)
            envelopes = [house.envelope() for _ in range(12)]
            await house.publish(*(screened(envelope) for envelope in envelopes))
            await until(lambda: len(assigned_of(house)) == 5)
            await asyncio.sleep(0.5)
            assert len(assigned_of(house)) == 5
            left = {e.message_id for e in envelopes} - {e.message_id for e in assigned_of(house)}
            seen = await ask(
                stub.GetStates,
                pb.GetStatesRequest(tenant_id=house.tenant_id, message_ids=sorted(left)),
            )
            assert {(s.state, s.wait_reason) for s in seen.states} == {("waiting", "per_hour")}
            now_s = clock.now().timestamp()
            assert all(now_s < s.due_at.seconds < now_s + 4000 for s in seen.states), seen
            lanes = await ask(stub.ListLanes, pb.ListLanesRequest(tenant_id=house.tenant_id))
            assert [(lane.binding, lane.waiting) for lane in lanes.lanes] == [("per_hour", 7)]
            await house.publish(Tenant(tenant_id=house.tenant_id, version=3))
            await until(lambda: len(assigned_of(house)) == 12)

    play(story())


def test_a_full_window_lets_one_leave_for_every_answer(house: House) -> None:
    house.extra = {"in_flight_max": 2}

    async def story() -> None:
        async with house.running():
            await house.publish(*(screened(house.envelope("a@site-b.test")) for _ in range(6)))
            await until(lambda: len(assigned_of(house)) == 2)
            await asyncio.sleep(0.4)
            assert len(assigned_of(house)) == 2
            answered = 0
            while answered < 6:
                for event in assigned_of(house)[answered:]:
                    await house.publish(attempted(event))
                    answered += 1
                await until(lambda done=answered: len(assigned_of(house)) == min(6, done + 2))  # type: ignore[misc]

    play(story())


def test_a_successor_knows_what_its_predecessor_has_in_flight(house: House) -> None:
    house.extra = {"in_flight_max": 3}

    async def story() -> None:
        async with house.running():
            await house.publish(*(screened(house.envelope("b@site-b.test")) for _ in range(5)))
            await until(lambda: len(assigned_of(house)) == 3)
        mine = assigned_of(house)
        house.told.clear()
        async with house.running():
            await asyncio.sleep(1)
            before = {event_id(event) for event in mine}
            assert {event_id(event) for event in assigned_of(house)} <= before
            await house.publish(attempted(mine[0]))
            await until(lambda: {event_id(event) for event in assigned_of(house)} - before)

    play(story())


def test_mail_waits_while_names_cannot_be_resolved(house: House) -> None:
    async def story() -> None:
        async with house.running(), house.rpc() as (ask, stub):
            envelope = house.envelope("ann@no-name-server.test")
            await house.publish(screened(envelope))

            async def reason() -> str:
                request = pb.GetStatesRequest(
                    tenant_id=house.tenant_id, message_ids=[envelope.message_id]
                )
                seen = await ask(stub.GetStates, request)
                return str(seen.states[0].wait_reason) if seen.states else ""

            while not (await reason()).startswith("dns: "):
                await asyncio.sleep(0.05)

    play(story())


def test_of_two_routers_one_assigns_and_the_other_takes_over(house: House) -> None:
    async def story() -> None:
        async with house.running():
            second = House(
                house.bootstrap_servers, house.prefix, house.database, house.folder,
                tenant_id=house.tenant_id,
            )  # fmt: skip
            async with second.running():
                envelopes = [house.envelope() for _ in range(20)]
                await house.publish(*(screened(envelope) for envelope in envelopes))
                await until(lambda: len(assigned_of(house)) == 20)
                assert len({event_id(event) for event in assigned_of(house)}) == 20
                for event in assigned_of(house)[:5]:
                    await house.publish(attempted(event, OUTCOME_TEMPORARY, code=451))

    play(story())


def test_more_open_lanes_than_one_look_takes_are_all_served(house: House) -> None:
    house.extra = {"tick_lanes_max": 2, "tick_rows_max": 3}

    async def story() -> None:
        async with house.running():
            tenants = [str(uuid4()) for _ in range(5)]
            mail = [
                house.envelope(recipient, tenant_id=tenant_id)
                for tenant_id in tenants
                for recipient in ("a@x.site-a.test", "b@site-b.test") * 3
            ]
            await house.publish(*(Tenant(tenant_id=one, version=1) for one in tenants))
            await house.publish(*(screened(envelope) for envelope in mail))
            for envelope in mail:
                await house.of(DeliveryAssigned, envelope.message_id)

    play(story())


def test_a_rate_of_a_tenant_is_kept_second_by_second(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.publish(Tenant(tenant_id=house.tenant_id, version=2, per_second_max=10))
            await asyncio.sleep(0.5)
            await house.publish(*(screened(house.envelope()) for _ in range(30)))
            await until(lambda: len(assigned_of(house)) == 30)
            good_until = sorted(
                event.not_after.seconds + event.not_after.nanos / 1e9
                for event in assigned_of(house)
            )
            tenth_after = zip(good_until, good_until[10:], strict=False)
            assert all(later - earlier >= 0.999 for earlier, later in tenth_after)

    play(story())
