"""router's RPCs on real PostgreSQL: the requests of tenants and of the audit."""

from datetime import timedelta
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_CANCELED,
    CLOSED_STATE_FAILED,
    DeliveryAssigned,
    MessageClosed,
)
from contracts.shield.v1.events_pb2 import VERDICT_HOLD, ScoreReason
from kernel import clock
from kernel.ids import lower_bound_at
from services.router.domain.events import timestamp
from services.router.store import waiting_messages
from tests.support.router import RouterHarness, attempted, screened
from tests.support.stack import shared_harness_fixture

harness = shared_harness_fixture(RouterHarness)


def later(seconds: float) -> Timestamp:
    return timestamp(clock.now().timestamp() + seconds)


async def test_a_held_message_has_the_rules_that_matched(harness: RouterHarness) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        context = harness.context()
        event = screened(context, VERDICT_HOLD, reasons=[ScoreReason(rule="links", score=6)])
        await harness.publish(event)
        await harness.wait_for_state(context.message_id, "held")
        seen = await call(
            stub.GetStates,
            pb.GetStatesRequest(tenant_id=harness.tenant_id, message_ids=[context.message_id]),
        )
        assert [(s.state, s.queued_reason) for s in seen.states] == [("held", "held: links")]


async def test_unassigned_messages_are_canceled_and_the_others_listed_as_too_late(
    harness: RouterHarness,
) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        scheduled, unknown = harness.context(due_at=later(600)), harness.context()
        assigned = harness.context()
        await harness.publish(screened(scheduled), screened(assigned))
        await harness.wait_for(DeliveryAssigned, assigned.message_id)
        await harness.wait_for_state(scheduled.message_id, "queued")
        request = pb.CancelRequest(
            tenant_id=harness.tenant_id, contexts=[scheduled, unknown, assigned]
        )
        for _ in range(2):
            response = await call(stub.Cancel, request)
            assert set(response.canceled_ids) == {scheduled.message_id, unknown.message_id}
            assert list(response.too_late_ids) == [assigned.message_id]
        for one in (scheduled, unknown):
            [closed] = await harness.wait_for(MessageClosed, one.message_id)
            assert closed.state == CLOSED_STATE_CANCELED
        await harness.publish(screened(unknown))
        after = harness.context()
        await harness.publish(screened(after))
        await harness.wait_for(DeliveryAssigned, after.message_id)
        assert harness.row(unknown.message_id) == "canceled"


async def test_a_message_can_be_rescheduled_before_router_receives_it(
    harness: RouterHarness,
) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        context = harness.context(due_at=later(0))
        request = pb.RescheduleRequest(
            tenant_id=harness.tenant_id, contexts=[context], due_at=later(900)
        )
        response = await call(stub.Reschedule, request)
        assert list(response.rescheduled_ids) == [context.message_id]
        assert harness.row(context.message_id) == "expected"
        await harness.publish(screened(context))
        await harness.wait_for_state(context.message_id, "queued")
        seen = await call(
            stub.GetStates,
            pb.GetStatesRequest(tenant_id=harness.tenant_id, message_ids=[context.message_id]),
        )
        [state] = seen.states
        assert state.queued_reason == "scheduled"
        assert state.due_at == request.due_at
        request.due_at.CopyFrom(later(0.2))
        await call(stub.Reschedule, request)
        await harness.wait_for(DeliveryAssigned, context.message_id)
        response = await call(stub.Reschedule, request)
        assert list(response.too_late_ids) == [context.message_id]


async def test_a_postponed_message_also_expires_later(harness: RouterHarness) -> None:
    """Otherwise it would expire before it is due."""

    async with harness.shared(), harness.rpc() as (call, stub):
        context = harness.context(due_at=later(600))
        await harness.publish(screened(context))
        await harness.wait_for_state(context.message_id, "queued")
        context.due_at.CopyFrom(later(7200))
        context.expires_at.CopyFrom(later(10800))
        response = await call(
            stub.Reschedule,
            pb.RescheduleRequest(
                tenant_id=harness.tenant_id, contexts=[context], due_at=context.due_at
            ),
        )
        assert list(response.rescheduled_ids) == [context.message_id]
    with harness.database.connect() as connection:
        found = connection.execute(
            "SELECT expires_at - due_at FROM router.messages WHERE message_id = %s",
            (context.message_id,),
        ).fetchone()
    assert found
    assert abs(found[0] - timedelta(hours=1)) < timedelta(seconds=5)  # type: ignore[operator]


async def test_a_tenant_cannot_see_or_change_the_messages_of_another(
    harness: RouterHarness,
) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        context = harness.context(due_at=later(600))
        await harness.publish(screened(context))
        await harness.wait_for_state(context.message_id, "queued")
        other, ids = str(uuid4()), [context.message_id]
        seen = await call(stub.GetStates, pb.GetStatesRequest(tenant_id=other, message_ids=ids))
        assert not seen.states
        context.tenant_id = other
        canceled = await call(stub.Cancel, pb.CancelRequest(tenant_id=other, contexts=[context]))
        assert list(canceled.too_late_ids) == ids
        assert harness.row(context.message_id) == "queued"


async def test_the_audit_republishes_unknown_messages_and_closes_expired_ones(
    harness: RouterHarness,
) -> None:
    async with harness.running(), harness.rpc() as (call, stub):
        unknown, lost = harness.context(), harness.context(expires_at=later(-5))
        closed, known = harness.context(), harness.context(due_at=later(600))
        await harness.publish(screened(closed), screened(known))
        [assigned] = await harness.wait_for(DeliveryAssigned, closed.message_id)
        await harness.publish(attempted(assigned, ATTEMPT_OUTCOME_DELIVERED))
        await harness.wait_for(MessageClosed, closed.message_id)
        await harness.wait_for_state(known.message_id, "queued")
        response = await call(
            stub.Reconcile,
            pb.ReconcileRequest(contexts=[unknown, lost, closed, known]),
        )
        assert list(response.republish_ids) == [unknown.message_id]
        assert list(response.closed_ids) == [closed.message_id]
        assert [k.message_id for k in response.known] == [known.message_id]
        [failed] = await harness.wait_for(MessageClosed, lost.message_id)
        assert (failed.state, failed.reason) == (CLOSED_STATE_FAILED, "expired")
        first, second = await harness.wait_for(MessageClosed, closed.message_id, 2)
        assert first == second
        repeated = await call(
            stub.RepublishClosed,
            pb.RepublishClosedRequest(message_ids=[closed.message_id, known.message_id]),
        )
        assert list(repeated.republished_ids) == [closed.message_id]
        await harness.wait_for(MessageClosed, closed.message_id, 3)


async def test_a_message_of_a_dropped_day_is_closed_and_delays_no_other(
    harness: RouterHarness,
) -> None:
    long_ago = clock.now() - timedelta(days=60)
    with harness.database.connect() as connection:
        connection.execute("INSERT INTO router.dropped_days (day) VALUES (%s)", (long_ago.date(),))
        connection.commit()
    async with harness.running(), harness.rpc() as (call, stub):
        old = harness.context(message_id=str(lower_bound_at(long_ago)), expires_at=later(-5))
        lost = harness.context(expires_at=later(-5))
        await call(stub.Reconcile, pb.ReconcileRequest(contexts=[old, lost]))
        for context in (old, lost):
            [failed] = await harness.wait_for(MessageClosed, context.message_id)
            assert (failed.state, failed.reason) == (CLOSED_STATE_FAILED, "expired")


async def test_waiting_messages_are_listed_in_pages_to_their_tenant_alone(
    harness: RouterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_messages, "SCANNED_MAX", 2)
    async with harness.running(), harness.rpc() as (call, stub):
        scheduled = [harness.context(due_at=later(600)) for _ in range(3)]
        held, assigned = harness.context(), harness.context()
        foreign = harness.context(tenant_id=str(uuid4()), due_at=later(600))
        await harness.publish(*map(screened, [*scheduled, assigned, foreign]))
        await harness.publish(screened(held, VERDICT_HOLD))
        await harness.wait_for(DeliveryAssigned, assigned.message_id)
        for one in (*scheduled, foreign):
            await harness.wait_for_state(one.message_id, "queued")
        await harness.wait_for_state(held.message_id, "held")
        found, request = [], pb.ListWaitingRequest(tenant_id=harness.tenant_id)
        while True:
            page = await call(stub.ListWaiting, request)
            found += page.messages
            if not page.next:
                break
            request.after = page.next
        expected = {one.message_id for one in (*scheduled, held)}
        assert {one.context.message_id for one in found} == expected
        assert {one.site for one in found} == {"site-a"}
