"""router's RPC on real PostgreSQL: what tenants and the audit ask of it."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import OUTCOME_DELIVERED
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_CANCELLED,
    CLOSED_STATE_FAILED,
    DeliveryAssigned,
    MessageClosed,
)
from contracts.shield.v1.events_pb2 import VERDICT_HOLD, Reason
from kernel import clock
from kernel.ids import first_of
from services.router.domain.facts import timestamp
from tests.support.pair import FreshDatabase
from tests.support.router import House, attempted, play, screened


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    return House(bootstrap_servers, topic_prefix, database, tmp_path)


def later(seconds: float) -> Timestamp:
    return timestamp(clock.now().timestamp() + seconds)


def test_a_held_message_waits_for_its_release(house: House) -> None:
    async def story() -> None:
        async with house.running(), house.rpc() as (ask, stub):
            envelope = house.envelope()
            event = screened(envelope, VERDICT_HOLD, reasons=[Reason(rule="links", score=6)])
            await house.publish(event)
            await house.state(envelope.message_id, "held")
            seen = await ask(
                stub.GetStates,
                pb.GetStatesRequest(tenant_id=house.tenant_id, message_ids=[envelope.message_id]),
            )
            assert [(s.state, s.wait_reason) for s in seen.states] == [("held", "held: links")]
            answer = await ask(
                stub.Release,
                pb.ReleaseRequest(tenant_id=house.tenant_id, message_ids=[envelope.message_id]),
            )
            assert list(answer.released) == [envelope.message_id]
            await house.of(DeliveryAssigned, envelope.message_id)

    play(story())


def test_what_is_not_on_its_way_can_be_cancelled_and_the_rest_is_named(house: House) -> None:
    async def story() -> None:
        async with house.running(), house.rpc() as (ask, stub):
            waiting, unknown = house.envelope(due_at=later(600)), house.envelope()
            gone = house.envelope()
            await house.publish(screened(waiting), screened(gone))
            await house.of(DeliveryAssigned, gone.message_id)
            await house.state(waiting.message_id, "waiting")
            request = pb.CancelRequest(
                tenant_id=house.tenant_id, envelopes=[waiting, unknown, gone]
            )
            for _ in range(2):
                answer = await ask(stub.Cancel, request)
                assert set(answer.cancelled) == {waiting.message_id, unknown.message_id}
                assert list(answer.too_late) == [gone.message_id]
            for one in (waiting, unknown):
                [closed] = await house.of(MessageClosed, one.message_id)
                assert closed.state == CLOSED_STATE_CANCELLED
            await house.publish(screened(unknown))
            after = house.envelope()
            await house.publish(screened(after))
            await house.of(DeliveryAssigned, after.message_id)
            assert house.row(unknown.message_id) == "cancelled"

    play(story())


def test_a_reschedule_may_come_before_the_message(house: House) -> None:
    async def story() -> None:
        async with house.running(), house.rpc() as (ask, stub):
            envelope = house.envelope(due_at=later(0))
            request = pb.RescheduleRequest(
                tenant_id=house.tenant_id, envelopes=[envelope], due_at=later(900)
            )
            answer = await ask(stub.Reschedule, request)
            assert list(answer.rescheduled) == [envelope.message_id]
            assert house.row(envelope.message_id) == "expected"
            await house.publish(screened(envelope))
            await house.state(envelope.message_id, "waiting")
            seen = await ask(
                stub.GetStates,
                pb.GetStatesRequest(tenant_id=house.tenant_id, message_ids=[envelope.message_id]),
            )
            [state] = seen.states
            assert state.wait_reason == "scheduled"
            assert state.due_at == request.due_at
            request.due_at.CopyFrom(later(0.2))
            await ask(stub.Reschedule, request)
            await house.of(DeliveryAssigned, envelope.message_id)
            answer = await ask(stub.Reschedule, request)
            assert list(answer.too_late) == [envelope.message_id]

    play(story())


def test_a_message_that_is_put_off_lives_as_much_longer(house: House) -> None:
    """Else it would be out of time before it is due."""

    async def story() -> None:
        async with house.running(), house.rpc() as (ask, stub):
            envelope = house.envelope(due_at=later(600))
            await house.publish(screened(envelope))
            await house.state(envelope.message_id, "waiting")
            envelope.due_at.CopyFrom(later(7200))
            envelope.expires_at.CopyFrom(later(10800))
            answer = await ask(
                stub.Reschedule,
                pb.RescheduleRequest(
                    tenant_id=house.tenant_id, envelopes=[envelope], due_at=envelope.due_at
                ),
            )
            assert list(answer.rescheduled) == [envelope.message_id]
        with house.database.connect() as owner:
            found = owner.execute(
                "SELECT expires_at - due_at FROM router.messages WHERE message_id = %s",
                (envelope.message_id,),
            ).fetchone()
        assert found
        assert abs(found[0] - timedelta(hours=1)) < timedelta(seconds=5)  # type: ignore[operator]

    play(story())


def test_another_tenant_sees_and_moves_nothing(house: House) -> None:
    async def story() -> None:
        async with house.running(), house.rpc() as (ask, stub):
            envelope = house.envelope(due_at=later(600))
            await house.publish(screened(envelope))
            await house.state(envelope.message_id, "waiting")
            other, ids = str(uuid4()), [envelope.message_id]
            seen = await ask(stub.GetStates, pb.GetStatesRequest(tenant_id=other, message_ids=ids))
            assert not seen.states
            released = await ask(stub.Release, pb.ReleaseRequest(tenant_id=other, message_ids=ids))
            assert list(released.not_held) == ids
            envelope.tenant_id = other
            cancelled = await ask(
                stub.Cancel, pb.CancelRequest(tenant_id=other, envelopes=[envelope])
            )
            assert list(cancelled.too_late) == ids
            assert house.row(envelope.message_id) == "waiting"

    play(story())


def test_suppressions_are_added_listed_and_removed(house: House) -> None:
    async def story() -> None:
        async with house.running(), house.rpc() as (ask, stub):
            tenant = {"tenant_id": house.tenant_id}
            names = [f"n{n}@x.site-a.test" for n in range(5)]
            added = await ask(
                stub.AddSuppressions, pb.AddSuppressionsRequest(**tenant, addresses=names)
            )
            assert len(added.suppressions) == 5
            first = await ask(stub.ListSuppressions, pb.ListSuppressionsRequest(**tenant, limit=3))
            assert first.has_more
            second = await ask(
                stub.ListSuppressions,
                pb.ListSuppressionsRequest(**tenant, limit=3, after=first.suppressions[-1].id),
            )
            found = {s.address for s in [*first.suppressions, *second.suppressions]}
            assert found == set(names)
            back = await ask(
                stub.ListSuppressions,
                pb.ListSuppressionsRequest(**tenant, limit=3, before=second.suppressions[0].id),
            )
            assert back.suppressions == first.suppressions
            removed = await ask(
                stub.RemoveSuppressions,
                pb.RemoveSuppressionsRequest(
                    **tenant, addresses=["N0@x.site-a.test", first.suppressions[0].id]
                ),
            )
            assert len(removed.removed) == 2
            assert {s.origin for s in removed.removed} == {"manual"}

    play(story())


def test_the_audit_tells_again_closes_and_repeats(house: House) -> None:
    async def story() -> None:
        async with house.running(), house.rpc() as (ask, stub):
            unknown, lost = house.envelope(), house.envelope(expires_at=later(-5))
            closed, known = house.envelope(), house.envelope(due_at=later(600))
            await house.publish(screened(closed), screened(known))
            [assigned] = await house.of(DeliveryAssigned, closed.message_id)
            await house.publish(attempted(assigned, OUTCOME_DELIVERED))
            await house.of(MessageClosed, closed.message_id)
            await house.state(known.message_id, "waiting")
            answer = await ask(
                stub.Reconcile,
                pb.ReconcileRequest(envelopes=[unknown, lost, closed, known]),
            )
            assert list(answer.tell_again) == [unknown.message_id]
            assert list(answer.closed) == [closed.message_id]
            assert [k.message_id for k in answer.known] == [known.message_id]
            [failed] = await house.of(MessageClosed, lost.message_id)
            assert (failed.state, failed.reason) == (CLOSED_STATE_FAILED, "expired")
            first, second = await house.of(MessageClosed, closed.message_id, 2)
            assert first == second
            repeated = await ask(
                stub.RepeatClosed,
                pb.RepeatClosedRequest(message_ids=[closed.message_id, known.message_id]),
            )
            assert list(repeated.repeated_ids) == [closed.message_id]
            await house.of(MessageClosed, closed.message_id, 3)

    play(story())


def test_a_message_of_a_forgotten_day_is_closed_and_keeps_no_other_waiting(house: House) -> None:
    async def story() -> None:
        long_ago = clock.now() - timedelta(days=60)
        with house.database.connect() as connection:
            connection.execute("INSERT INTO router.forgotten (day) VALUES (%s)", (long_ago.date(),))
            connection.commit()
        async with house.running(), house.rpc() as (ask, stub):
            old = house.envelope(message_id=str(first_of(long_ago)), expires_at=later(-5))
            lost = house.envelope(expires_at=later(-5))
            await ask(stub.Reconcile, pb.ReconcileRequest(envelopes=[old, lost]))
            for envelope in (old, lost):
                [failed] = await house.of(MessageClosed, envelope.message_id)
                assert (failed.state, failed.reason) == (CLOSED_STATE_FAILED, "expired")

    play(story())
