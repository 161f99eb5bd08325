"""router on real Kafka and PostgreSQL: from screened to closed."""

from pathlib import Path

import pytest

from contracts.delivery.v1.events_pb2 import (
    OUTCOME_AMBIGUOUS,
    OUTCOME_DELIVERED,
    OUTCOME_PERMANENT,
    OUTCOME_STALE,
    OUTCOME_TEMPORARY,
    BounceReceived,
    ComplaintReceived,
    Outcome,
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
from contracts.shield.v1.events_pb2 import VERDICT_BLOCK, Reason
from kernel import clock
from services.router.domain.facts import timestamp
from tests.support.pair import FreshDatabase
from tests.support.router import House, attempted, play, screened, until


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    return House(bootstrap_servers, topic_prefix, database, tmp_path)


def test_a_passed_message_is_assigned_delivered_and_closed(house: House) -> None:
    async def story() -> None:
        async with house.running():
            envelope = house.envelope()
            await house.publish(screened(envelope))
            [assigned] = await house.of(DeliveryAssigned, envelope.message_id)
            assert assigned.site == "site-a"
            assert assigned.attempt == 1
            assert assigned.ehlo == "mail.test"
            assert [(e.host, e.port) for e in assigned.exchangers] == [("127.0.0.5", 2525)]
            assert assigned.envelope == envelope
            await house.publish(attempted(assigned, OUTCOME_DELIVERED))
            [closed] = await house.of(MessageClosed, envelope.message_id)
            assert closed.state == CLOSED_STATE_DELIVERED
            assert closed.reply.code == 250

    play(story())


def test_a_blocked_message_fails_and_says_why(house: House) -> None:
    async def story() -> None:
        async with house.running():
            envelope = house.envelope()
            event = screened(envelope, VERDICT_BLOCK, reasons=[Reason(rule="gtube", score=100)])
            await house.publish(event, event)
            [closed] = await house.of(MessageClosed, envelope.message_id)
            assert (closed.state, closed.reason) == (CLOSED_STATE_FAILED, "blocked: gtube")

    play(story())


def test_a_repeated_message_and_a_repeated_answer_change_nothing(house: House) -> None:
    async def story() -> None:
        async with house.running():
            envelope, other = house.envelope(), house.envelope()
            await house.publish(screened(envelope))
            [assigned] = await house.of(DeliveryAssigned, envelope.message_id)
            await house.publish(attempted(assigned), screened(envelope))
            await house.of(MessageClosed, envelope.message_id)
            await house.publish(
                screened(envelope), attempted(assigned, OUTCOME_TEMPORARY, code=451)
            )
            await house.publish(screened(other))
            await house.of(DeliveryAssigned, other.message_id)
            assert len(house.so_far(DeliveryAssigned, envelope.message_id)) == 1
            assert len(house.so_far(MessageClosed, envelope.message_id)) == 1
            assert not house.so_far(MessageDelayed, envelope.message_id)
            assert house.row(envelope.message_id) == "delivered"

    play(story())


def test_a_refused_message_is_told_delayed_and_retried_from_the_same_address(house: House) -> None:
    house.extra = {"retry_schedule_s": (0.3,)}

    async def story() -> None:
        async with house.running():
            envelope = house.envelope()
            await house.publish(screened(envelope))
            [first] = await house.of(DeliveryAssigned, envelope.message_id)
            await house.publish(attempted(first, OUTCOME_TEMPORARY, code=451, text="later"))
            [delayed] = await house.of(MessageDelayed, envelope.message_id)
            assert (delayed.attempt, delayed.tries, delayed.reply.code) == (1, 1, 451)
            _, second = await house.of(DeliveryAssigned, envelope.message_id, 2)
            assert (second.attempt, second.tries) == (2, 1)
            assert second.egress_id == first.egress_id

    play(story())


def test_an_ambiguous_attempt_is_retried_and_flagged_to_the_end(house: House) -> None:
    house.extra = {"retry_schedule_s": (0.2,)}

    async def story() -> None:
        async with house.running():
            envelope = house.envelope()
            await house.publish(screened(envelope))
            [first] = await house.of(DeliveryAssigned, envelope.message_id)
            await house.publish(attempted(first, OUTCOME_AMBIGUOUS, ambiguous=True))
            _, second = await house.of(DeliveryAssigned, envelope.message_id, 2)
            assert second.ambiguous
            await house.publish(attempted(second))
            [closed] = await house.of(MessageClosed, envelope.message_id)
            assert (closed.state, closed.ambiguous) == (CLOSED_STATE_DELIVERED, True)

    play(story())


def test_a_stale_assignment_is_made_again_at_once_and_is_no_try(house: House) -> None:
    async def story() -> None:
        async with house.running():
            envelope = house.envelope()
            await house.publish(screened(envelope))
            [first] = await house.of(DeliveryAssigned, envelope.message_id)
            await house.publish(attempted(first, OUTCOME_STALE, code=0, connected=False))
            _, second = await house.of(DeliveryAssigned, envelope.message_id, 2)
            assert (second.attempt, second.tries) == (2, 0)
            assert not house.so_far(MessageDelayed, envelope.message_id)

    play(story())


async def bounce(house: House, recipient: str, *, test: bool = False) -> MessageClosed:
    envelope = house.envelope(recipient, test=test)
    await house.publish(screened(envelope))
    [assigned] = await house.of(DeliveryAssigned, envelope.message_id)
    await house.publish(
        attempted(
            assigned,
            OUTCOME_PERMANENT,
            code=550,
            text="no such user",
            bounce_class="invalid_recipient",
        )
    )
    [closed] = await house.of(MessageClosed, envelope.message_id)
    return closed


def test_a_hard_bounce_suppresses_the_next_message_of_its_tenant_alone(house: House) -> None:
    async def story() -> None:
        async with house.running():
            closed = await bounce(house, "gone@x.site-a.test")
            assert closed.state == CLOSED_STATE_BOUNCED
            assert closed.bounce_class == "invalid_recipient"
            again = house.envelope("Gone@x.site-a.test")
            await house.publish(screened(again))
            [suppressed] = await house.of(MessageClosed, again.message_id)
            assert suppressed.state == CLOSED_STATE_SUPPRESSED
            other = house.envelope(
                "gone@x.site-a.test", tenant_id="11111111-1111-4111-8111-111111111111"
            )
            await house.publish(Tenant(tenant_id=other.tenant_id, version=1), screened(other))
            await house.of(DeliveryAssigned, other.message_id)

    play(story())


def test_test_mail_goes_to_the_sandbox_and_suppresses_nobody(house: House) -> None:
    async def story() -> None:
        async with house.running():
            closed = await bounce(house, "bounced@example.com", test=True)
            assert closed.test
            again = house.envelope("bounced@example.com", test=True)
            await house.publish(screened(again))
            [assigned] = await house.of(DeliveryAssigned, again.message_id)
            assert (assigned.egress_id, assigned.site) == ("sandbox", "sandbox")
            assert [(e.host, e.port) for e in assigned.exchangers] == [("127.0.0.1", 8027)]

    play(story())


def test_a_complaint_suppresses_its_recipient(house: House) -> None:
    async def story() -> None:
        async with house.running():
            complaint = ComplaintReceived(
                message_id=house.envelope().message_id,
                feedback_type="abuse",
                tenant_id=house.tenant_id,
                recipient="angry@x.site-a.test",
            )
            await house.publish(complaint, complaint)
            with house.database.connect() as connection:
                query = "SELECT origin FROM router.suppressions WHERE tenant_id = %s"
                await until(
                    lambda: (
                        connection.execute(query, (house.tenant_id,)).fetchall() == [("complaint",)]
                    )
                )

    play(story())


def test_two_bounces_that_come_together_count_as_two(house: House) -> None:
    async def story() -> None:
        async with house.running():
            bounces = [
                BounceReceived(
                    message_id=house.envelope().message_id,
                    tenant_id=house.tenant_id,
                    recipient="asleep@x.site-a.test",
                    bounce_class="inactive_mailbox",
                )
                for _ in range(2)
            ]
            await house.publish(*bounces)
            with house.database.connect() as connection:
                query = "SELECT count(*) FROM router.suppressions WHERE tenant_id = %s"
                await until(
                    lambda: connection.execute(query, (house.tenant_id,)).fetchall() == [(1,)]
                )

    play(story())


@pytest.mark.parametrize(
    ("outcome", "state"), [(None, CLOSED_STATE_FAILED), (OUTCOME_TEMPORARY, CLOSED_STATE_BOUNCED)]
)
def test_out_of_time_is_failed_without_a_try_and_bounced_after_one(
    house: House, outcome: "Outcome.ValueType | None", state: int
) -> None:
    async def story() -> None:
        async with house.running():
            soon = timestamp(clock.now().timestamp() + 4)
            recipient = "ann@x.site-a.test" if outcome else "ann@unknown.test"
            envelope = house.envelope(recipient, expires_at=soon)
            await house.publish(screened(envelope))
            if outcome:
                [assigned] = await house.of(DeliveryAssigned, envelope.message_id)
                await house.publish(attempted(assigned, outcome, code=451))
            [closed] = await house.of(MessageClosed, envelope.message_id)
            assert (closed.state, closed.reason) == (state, "expired")

    play(story())


def test_an_unanswered_assignment_is_told_again_word_for_word(house: House) -> None:
    house.extra = {"ask_after_s": 0.3, "ask_every_s": 0.1}

    async def story() -> None:
        async with house.running():
            envelope = house.envelope()
            await house.publish(screened(envelope))
            first, second = (await house.of(DeliveryAssigned, envelope.message_id, 2))[:2]
            assert first == second

    play(story())


def test_a_message_whose_day_has_no_partition_makes_it(house: House) -> None:
    async def story() -> None:
        async with house.running():
            long_ago = "018f0000" + house.envelope().message_id[8:]
            envelope = house.envelope(message_id=long_ago)
            await house.publish(screened(envelope))
            await house.of(DeliveryAssigned, envelope.message_id)

    play(story())


def test_a_poisoned_record_is_parked_and_its_neighbours_pass(house: House) -> None:
    async def story() -> None:
        async with house.running():
            one, two = house.envelope(), house.envelope()
            poison = screened(house.envelope(message_id="no uuid"))
            await house.publish(screened(one), poison, screened(two))
            await house.of(DeliveryAssigned, one.message_id)
            await house.of(DeliveryAssigned, two.message_id)

    play(story())
