"""router on real Kafka and PostgreSQL: messages from screened to closed."""

import pytest

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_AMBIGUOUS,
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_STALE,
    ATTEMPT_OUTCOME_TEMPORARY,
    AttemptOutcome,
    BounceReceived,
    ComplaintReceived,
)
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    CLOSED_STATE_DELIVERED,
    CLOSED_STATE_FAILED,
    CLOSED_STATE_SUPPRESSED,
    DeliveryAssigned,
    MessageClosed,
    MessageDelayed,
)
from contracts.shield.v1.events_pb2 import VERDICT_BLOCK, ScoreReason
from kernel import clock
from services.router.domain.events import timestamp
from tests.support.router import RouterHarness, attempted, screened, until
from tests.support.stack import shared_harness_fixture

harness = shared_harness_fixture(RouterHarness)


async def test_a_passed_message_is_assigned_delivered_and_closed(harness: RouterHarness) -> None:
    async with harness.shared():
        context = harness.context()
        await harness.publish(screened(context))
        [assigned] = await harness.wait_for(DeliveryAssigned, context.message_id)
        assert assigned.site == "site-a"
        assert assigned.attempt == 1
        assert assigned.ehlo == "mail.test"
        assert [(e.host, e.port) for e in assigned.mx_hosts] == [("127.0.0.5", 2525)]
        assert assigned.context == context
        await harness.publish(attempted(assigned, ATTEMPT_OUTCOME_DELIVERED))
        [closed] = await harness.wait_for(MessageClosed, context.message_id)
        assert closed.state == CLOSED_STATE_DELIVERED
        assert closed.reply.code == 250


async def test_mail_of_an_ingest_whose_clock_is_ahead_does_not_wait(harness: RouterHarness) -> None:
    async with harness.shared():
        context = harness.context()
        context.accepted_at.seconds += 3600
        context.due_at.CopyFrom(context.accepted_at)
        await harness.publish(screened(context))
        [assigned] = await harness.wait_for(DeliveryAssigned, context.message_id)
        assert assigned.context == context


async def test_a_blocked_message_fails_with_the_rule_as_its_reason(harness: RouterHarness) -> None:
    async with harness.shared():
        context = harness.context()
        event = screened(context, VERDICT_BLOCK, reasons=[ScoreReason(rule="gtube", score=100)])
        await harness.publish(event, event)
        [closed] = await harness.wait_for(MessageClosed, context.message_id)
        assert (closed.state, closed.reason) == (CLOSED_STATE_FAILED, "blocked: gtube")


async def test_a_repeated_message_and_a_repeated_result_change_nothing(
    harness: RouterHarness,
) -> None:
    async with harness.shared():
        context, other = harness.context(), harness.context()
        await harness.publish(screened(context))
        [assigned] = await harness.wait_for(DeliveryAssigned, context.message_id)
        await harness.publish(attempted(assigned), screened(context))
        await harness.wait_for(MessageClosed, context.message_id)
        await harness.publish(
            screened(context), attempted(assigned, ATTEMPT_OUTCOME_TEMPORARY, code=451)
        )
        await harness.publish(screened(other))
        await harness.wait_for(DeliveryAssigned, other.message_id)
        assert len(harness.received(DeliveryAssigned, context.message_id)) == 1
        assert len(harness.received(MessageClosed, context.message_id)) == 1
        assert not harness.received(MessageDelayed, context.message_id)
        assert harness.row(context.message_id) == "delivered"


async def test_a_refused_message_is_delayed_and_retried_from_the_same_source(
    harness: RouterHarness,
) -> None:
    harness.extra = {"retry_schedule_s": (0.3,)}

    async with harness.running():
        context = harness.context()
        await harness.publish(screened(context))
        [first] = await harness.wait_for(DeliveryAssigned, context.message_id)
        await harness.publish(attempted(first, ATTEMPT_OUTCOME_TEMPORARY, code=451, text="later"))
        [delayed] = await harness.wait_for(MessageDelayed, context.message_id)
        assert (delayed.attempt, delayed.attempt_count, delayed.reply.code) == (1, 1, 451)
        _, second = await harness.wait_for(DeliveryAssigned, context.message_id, 2)
        assert (second.attempt, second.attempt_count) == (2, 1)
        assert second.egress_id == first.egress_id


async def test_an_ambiguous_attempt_is_retried_and_its_message_stays_flagged(
    harness: RouterHarness,
) -> None:
    harness.extra = {"retry_schedule_s": (0.2,)}

    async with harness.running():
        context = harness.context()
        await harness.publish(screened(context))
        [first] = await harness.wait_for(DeliveryAssigned, context.message_id)
        await harness.publish(attempted(first, ATTEMPT_OUTCOME_AMBIGUOUS, ambiguous=True))
        _, second = await harness.wait_for(DeliveryAssigned, context.message_id, 2)
        assert second.ambiguous
        await harness.publish(attempted(second))
        [closed] = await harness.wait_for(MessageClosed, context.message_id)
        assert (closed.state, closed.ambiguous) == (CLOSED_STATE_DELIVERED, True)


async def test_a_stale_assignment_is_reassigned_at_once_and_does_not_count(
    harness: RouterHarness,
) -> None:
    async with harness.shared():
        context = harness.context()
        await harness.publish(screened(context))
        [first] = await harness.wait_for(DeliveryAssigned, context.message_id)
        await harness.publish(attempted(first, ATTEMPT_OUTCOME_STALE, code=0, connected=False))
        _, second = await harness.wait_for(DeliveryAssigned, context.message_id, 2)
        assert (second.attempt, second.attempt_count) == (2, 0)
        assert not harness.received(MessageDelayed, context.message_id)


async def bounce(harness: RouterHarness, recipient: str, *, test: bool = False) -> MessageClosed:
    context = harness.context(recipient, test=test)
    await harness.publish(screened(context))
    [assigned] = await harness.wait_for(DeliveryAssigned, context.message_id)
    await harness.publish(
        attempted(
            assigned,
            ATTEMPT_OUTCOME_PERMANENT,
            code=550,
            text="no such user",
            bounce_class="invalid_recipient",
        )
    )
    [closed] = await harness.wait_for(MessageClosed, context.message_id)
    return closed


async def test_a_hard_bounce_suppresses_the_next_message_of_its_tenant_alone(
    harness: RouterHarness,
) -> None:
    async with harness.shared():
        closed = await bounce(harness, "gone@x.site-a.test")
        assert closed.state == CLOSED_STATE_BOUNCED
        assert closed.bounce_class == "invalid_recipient"
        again = harness.context("Gone@x.site-a.test")
        await harness.publish(screened(again))
        [suppressed] = await harness.wait_for(MessageClosed, again.message_id)
        assert suppressed.state == CLOSED_STATE_SUPPRESSED
        other = harness.context(
            "gone@x.site-a.test", tenant_id="11111111-1111-4111-8111-111111111111"
        )
        await harness.publish(Tenant(tenant_id=other.tenant_id, version=1), screened(other))
        await harness.wait_for(DeliveryAssigned, other.message_id)


async def test_test_mail_is_assigned_to_the_sandbox_and_never_suppresses(
    harness: RouterHarness,
) -> None:
    async with harness.shared():
        closed = await bounce(harness, "bounced@example.com", test=True)
        assert closed.test
        again = harness.context("bounced@example.com", test=True)
        await harness.publish(screened(again))
        [assigned] = await harness.wait_for(DeliveryAssigned, again.message_id)
        assert (assigned.egress_id, assigned.site) == ("sandbox", "sandbox")
        assert [(e.host, e.port) for e in assigned.mx_hosts] == [("127.0.0.1", 8027)]


async def test_a_complaint_suppresses_its_recipient(harness: RouterHarness) -> None:
    async with harness.shared():
        complaint = ComplaintReceived(
            message_id=harness.context().message_id,
            feedback_type="abuse",
            tenant_id=harness.tenant_id,
            recipient="angry@x.site-a.test",
        )
        await harness.publish(complaint, complaint)
        with harness.database.connect() as connection:
            query = "SELECT origin FROM router.suppressions WHERE owner_id = %s"
            await until(
                lambda: (
                    connection.execute(query, (harness.tenant_id,)).fetchall() == [("complaint",)]
                )
            )


async def test_two_bounces_in_one_batch_count_as_two_strikes(harness: RouterHarness) -> None:
    async with harness.shared():
        bounces = [
            BounceReceived(
                message_id=harness.context().message_id,
                tenant_id=harness.tenant_id,
                recipient="asleep@x.site-a.test",
                bounce_class="inactive_mailbox",
            )
            for _ in range(2)
        ]
        await harness.publish(*bounces)
        with harness.database.connect() as connection:
            query = "SELECT count(*) FROM router.suppressions WHERE owner_id = %s"
            await until(
                lambda: connection.execute(query, (harness.tenant_id,)).fetchall() == [(1,)]
            )


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(None, CLOSED_STATE_FAILED), (ATTEMPT_OUTCOME_TEMPORARY, CLOSED_STATE_BOUNCED)],
)
async def test_an_expired_message_fails_without_an_attempt_and_bounces_after_one(
    harness: RouterHarness, outcome: "AttemptOutcome.ValueType | None", state: int
) -> None:
    async with harness.shared():
        soon = timestamp(clock.now().timestamp() + (4 if outcome else 1))
        recipient = "ann@x.site-a.test" if outcome else "ann@unknown.test"
        context = harness.context(recipient, expires_at=soon)
        await harness.publish(screened(context))
        if outcome:
            [assigned] = await harness.wait_for(DeliveryAssigned, context.message_id)
            await harness.publish(attempted(assigned, outcome, code=451))
        [closed] = await harness.wait_for(MessageClosed, context.message_id)
        assert (closed.state, closed.reason) == (state, "expired")


async def test_an_unanswered_assignment_is_republished_byte_for_byte(
    harness: RouterHarness,
) -> None:
    harness.extra = {"republish_after_s": 0.3, "republish_interval_s": 0.1}

    async with harness.running():
        context = harness.context()
        await harness.publish(screened(context))
        async with harness.delivery_consuming():
            assignments = await harness.wait_for(DeliveryAssigned, context.message_id, 2)
        assert assignments[0] == assignments[1]


async def test_nothing_is_republished_while_delivery_lags_behind_the_assignments(
    harness: RouterHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """Each copy would make delivery lag more, until every assignment is stale when it is read."""
    harness.extra = {"republish_after_s": 3.0, "republish_interval_s": 0.1}
    caplog.set_level("INFO", logger="services.router.loops.republisher")

    async with harness.running():
        context = harness.context()
        await harness.publish(screened(context))
        await harness.wait_for(DeliveryAssigned, context.message_id)
        await until(lambda: "republish.postponed" in caplog.text)
        assert len(await harness.wait_for(DeliveryAssigned, context.message_id)) == 1

        async with harness.delivery_consuming():
            await harness.wait_for(DeliveryAssigned, context.message_id, 2)


async def test_the_partition_of_a_message_from_an_earlier_day_is_created(
    harness: RouterHarness,
) -> None:
    async with harness.running():
        long_ago = "018f0000" + harness.context().message_id[8:]
        context = harness.context(message_id=long_ago)
        await harness.publish(screened(context))
        await harness.wait_for(DeliveryAssigned, context.message_id)


async def test_an_invalid_record_is_dead_lettered_and_its_neighbors_are_assigned(
    harness: RouterHarness,
) -> None:
    async with harness.shared():
        one, two = harness.context(), harness.context()
        poison = screened(harness.context(message_id="no uuid"))
        await harness.publish(screened(one), poison, screened(two))
        await harness.wait_for(DeliveryAssigned, one.message_id)
        await harness.wait_for(DeliveryAssigned, two.message_id)
