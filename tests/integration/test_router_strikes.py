"""Bounces, complaints and unsubscribes that suppress, on real Kafka and PostgreSQL."""

from typing import Any

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_PERMANENT,
    BounceReceived,
    ComplaintReceived,
)
from contracts.events.v1.events_pb2 import RecipientUnsubscribed
from contracts.router.v1.events_pb2 import DeliveryAssigned
from tests.support.router import RouterHarness, attempted, screened, until
from tests.support.router_suppressions import ADDRESS, Suppressions, changes, published
from tests.support.stack import harness_fixture

harness = harness_fixture(RouterHarness, scope="function")


async def test_strikes_publish_what_they_suppress(harness: RouterHarness) -> None:
    async with harness.running():
        context = harness.context("gone@x.site-a.test")
        await harness.publish(screened(context))
        [assigned] = await harness.wait_for(DeliveryAssigned, context.message_id)
        bounced = attempted(
            assigned, ATTEMPT_OUTCOME_PERMANENT, code=550, bounce_class="invalid_recipient"
        )
        about: dict[str, Any] = {"tenant_id": harness.tenant_id, "message_id": context.message_id}
        reports = (
            BounceReceived(**about, recipient="late@x.test", bounce_class="invalid_recipient"),
            ComplaintReceived(**about, recipient="angry@x.test", feedback_type="abuse"),
            RecipientUnsubscribed(
                **about,
                recipient="bored@x.test",
                scope="list/news",
                list="news",
                method="page",
                day=20_000,
            ),
        )
        await harness.publish(bounced, *reports, *reports)
        await until(lambda: len(published(harness)) == 4)
        found = {
            one.address: (one.origin, one.reason, one.list, one.source_id)
            for one in changes(harness)
        }
        source = context.message_id
        assert found == {
            "gone@x.site-a.test": ("bounce", "invalid_recipient", "", source),
            "late@x.test": ("bounce", "invalid_recipient", "", source),
            "angry@x.test": ("complaint", "abuse", "", source),
            "bored@x.test": ("unsubscribe", "page", "news", source),
        }


async def test_an_unsubscribe_is_kept_beside_a_bounce(harness: RouterHarness) -> None:
    async with harness.running(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        about: dict[str, Any] = {"tenant_id": harness.tenant_id, "recipient": ADDRESS}
        about |= {"message_id": harness.context().message_id}
        await harness.publish(
            BounceReceived(**about, bounce_class="invalid_recipient"),
            RecipientUnsubscribed(**about, scope="all", method="page", day=20_000),
        )
        await until(lambda: len(published(harness)) == 2)
        found = {one.origin: one.reason for one in await mine.listed()}
        assert found == {"bounce": "invalid_recipient", "unsubscribe": "page"}


async def test_a_repeated_event_does_not_suppress_again_what_was_removed(
    harness: RouterHarness,
) -> None:
    async with harness.running(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        about: dict[str, Any] = {"tenant_id": harness.tenant_id, "recipient": ADDRESS}
        message_id = harness.context().message_id
        events = (
            BounceReceived(**about, message_id=message_id, bounce_class="invalid_recipient"),
            RecipientUnsubscribed(
                **about, message_id=message_id, scope="all", method="one_click", day=20_000
            ),
        )
        for event in events:
            await harness.publish(event)
            await until(lambda: published(harness))
            harness.events.clear()
            assert (await mine.remove(ADDRESS)).removed
            await until(lambda: published(harness))
            harness.events.clear()
        other = ComplaintReceived(message_id=message_id, tenant_id=harness.tenant_id,
                                  recipient="last@x.test", feedback_type="abuse")  # fmt: skip
        await harness.publish(*events, other)
        await until(lambda: published(harness))
        assert [one.address for one in await mine.listed()] == ["last@x.test"]
        harness.events.clear()
        events[1].day += 1
        await harness.publish(events[1])
        await until(lambda: published(harness))
        assert {one.address for one in await mine.listed()} == {"last@x.test", ADDRESS}
