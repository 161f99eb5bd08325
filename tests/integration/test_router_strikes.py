"""Bounces, complaints and unsubscribes that suppress, on real Kafka and PostgreSQL."""

from typing import Any

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_PERMANENT,
    BounceReceived,
    ComplaintReceived,
)
from contracts.events.v1.events_pb2 import RecipientUnsubscribed
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed
from kernel.redaction import ERASED
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


async def test_what_erased_recipients_report_suppresses_them_and_nobody_else(
    harness: RouterHarness,
) -> None:
    async with harness.running(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        people = [f"{name}@x.site-a.test" for name in ("late", "angry", "bored")]
        about: list[dict[str, Any]] = []
        for one in people:
            context = harness.context(one)
            await harness.publish(screened(context))
            [assigned] = await harness.wait_for(DeliveryAssigned, context.message_id)
            await harness.publish(attempted(assigned))
            await harness.wait_for(MessageClosed, context.message_id)
            about.append({"tenant_id": harness.tenant_id, "message_id": context.message_id})
            erase = pb.EraseMessagesRequest(
                message_ids=[context.message_id], address=one, tenant_id=harness.tenant_id
            )
            assert not (await call(stub.EraseMessages, erase)).open_ids
        unknown: dict[str, Any] = {
            "tenant_id": harness.tenant_id, "message_id": harness.context().message_id,
        }  # fmt: skip
        late, angry, bored = ({**one, "recipient": ERASED} for one in about)
        await harness.publish(
            ComplaintReceived(**unknown, recipient=ERASED, feedback_type="abuse"),
            BounceReceived(**late, bounce_class="invalid_recipient"),
            ComplaintReceived(**angry, feedback_type="abuse"),
            RecipientUnsubscribed(**bored, scope="all", method="page", day=20_000),
        )
        await until(lambda: len(changes(harness)) == 3)
        assert {(one.address, one.source_id) for one in changes(harness)} == {
            ("", one["message_id"]) for one in about
        }
        found = [[one.origin for one in await mine.listed(address=person)] for person in people]
        assert found == [["bounce"], ["complaint"], ["unsubscribe"]]
        assert len(await mine.listed()) == 3
        again = harness.context(people[1])
        await harness.publish(screened(again))
        [closed] = await harness.wait_for(MessageClosed, again.message_id)
        assert closed.reason == "suppressed: complaint"


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
