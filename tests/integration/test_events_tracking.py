"""Opens, clicks and unsubscriptions, from the listener to the log."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.events.v1.events_pb2 import RecipientUnsubscribed
from contracts.events.v1.events_service_pb2 import (
    CreateWebhookRequest,
    Engagement,
    ListEmailsRequest,
    ListEventsRequest,
)
from kernel import clock
from kernel.days import DAY_MS
from kernel.embedded.folder import free_port
from kernel.ids import uuid7_of
from mail.tracking import TrackingMode
from services.events.domain.engagement import STORED_MAX
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.links import (
    ONE_CLICK,
    LinkClient,
    click_path,
    link_client,
    open_path,
    unsubscribe_path,
)
from tests.support.message_events import MessageEvents
from tests.support.receiver import receiving
from tests.support.records import all_of

__all__ = ["run_scenario"]
URL = "https://shop.example/a?b=1&c=2#d"
Scenario = Callable[[Running, LinkClient], Awaitable[None]]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture
def run(run_scenario: ScenarioRunner, port: int, tmp_path: Path) -> Callable[..., None]:
    """Runs a scenario with a client of the listener. Without settings of its own, the service goes
    on running for other tests."""

    def start(scenario: Scenario, **settings: object) -> None:
        async def main(events: Running) -> None:
            async with link_client(port) as client:
                await scenario(events, client)

        defaults: dict[str, object] = {
            "tracking_listen": f"127.0.0.1:{port}",
            "tracking_spool": str(run_scenario.loop.folder / "spool"),
            "tracking_linger_s": 0.0,
            "tracking_unknown_wait_s": 100_000.0,
        }
        if settings:
            spool = {"tracking_spool": str(tmp_path / "spool")}
            run_scenario(main, **(defaults | spool | settings))
        else:
            run_scenario.shared(main, **defaults)

    return start


async def publish_delivered(events: Running, message: MessageEvents | None = None) -> MessageEvents:
    message = message or MessageEvents()
    await events.publish(*delivered_earlier(message))
    await events.wait_recorded(message, 5)
    return message


def delivered_earlier(message: MessageEvents) -> list[Message]:
    """Long enough ago that a click is not too soon."""
    found = message.delivered()
    for event in found:
        if isinstance(event, DeliveryAttempted):
            event.attempted_at.FromDatetime(clock.now() - timedelta(hours=1))
    return found


async def engagement_of(events: Running, message: MessageEvents) -> Engagement:
    request = ListEmailsRequest(tenant_id=message.tenant_id, id=message.email_id)
    [email] = (await events.call(events.stub.ListEmails, request)).emails
    assert email.last_event == "delivered"
    return email.engagement


async def data_of(events: Running, message: MessageEvents, kind: str) -> list[dict[str, Any]]:
    request = ListEventsRequest(tenant_id=message.tenant_id, email_id=message.email_id, limit=100)
    found = (await events.call(events.stub.ListEvents, request)).events
    return [MessageToDict(one.data) for one in found if one.type == kind]


def test_what_a_recipient_does_is_in_the_timeline(run: Callable[..., None]) -> None:
    async def scenario(events: Running, client: LinkClient) -> None:
        message = await publish_delivered(events)
        assert (await client.request(open_path(message))).body.startswith(b"GIF89a")
        response = await client.request(click_path(message, URL))
        assert (response.status, response.headers["location"]) == (302, URL)
        await client.request(click_path(message, URL), "HEAD")
        left = await client.request(unsubscribe_path(message), "POST", body=ONE_CLICK)
        assert left.status == 200
        await events.wait_recorded(message, 9)
        [opened] = await data_of(events, message, "email.opened")
        assert opened["open"]["userAgent"] == "Apple Mail, iOS"
        assert opened["open"]["ipAddress"] == "127.0.0.0/24"
        assert opened["recipient"] == "ann@example.net"
        first, second = [one["click"] for one in await data_of(events, message, "email.clicked")]
        assert (first["link"], first["machine"]) == (URL, False)
        assert (second["machine_reason"], second["machine_certainty"]) == (
            "head_request", "certain",
        )  # fmt: skip
        [leaves] = await data_of(events, message, "email.unsubscribed")
        assert leaves["unsubscribe"] == {"method": "one_click", "list": None}
        found = await engagement_of(events, message)
        assert (found.opens, found.clicks, found.machine_opens, found.machine_clicks) == (
            1, 1, 0, 1,
        )  # fmt: skip
        assert found.first_opened_at.seconds <= found.first_clicked_at.seconds
        assert found.HasField("unsubscribed_at")

    run(scenario)


def test_repeats_are_one_event_and_later_hits_are_only_counted(run: Callable[..., None]) -> None:
    async def scenario(events: Running, client: LinkClient) -> None:
        message = await publish_delivered(events)
        for _ in range(3):
            for number in range(STORED_MAX + 5):
                path = click_path(message, f"https://shop.example/{number}")
                assert (await client.request(path)).status == 302

        def counted() -> bool:
            [(clicks, machine)] = events.rows(
                "SELECT coalesce(sum(clicks), 0), coalesce(sum(machine_clicks), 0)"
                " FROM events.engagement WHERE subject_id = %s",
                (message.message_id,),
            )
            return bool(clicks + machine >= STORED_MAX + 5)

        await until(counted)
        await events.wait_recorded(message, 5 + STORED_MAX)
        assert events.count(message) == 5 + STORED_MAX

    run(scenario)


def test_unsubscribing_is_published_once_however_often_it_is_posted(
    run: Callable[..., None], bootstrap_servers: str, topic_prefix: str
) -> None:
    async def scenario(events: Running, client: LinkClient) -> None:
        message = await publish_delivered(events)
        path = unsubscribe_path(message, "offers")
        for method in ("GET", "HEAD", "GET"):
            assert (await client.request(path, method)).status == 200
        for body in (ONE_CLICK, ONE_CLICK, b"unsubscribe=page"):
            assert (await client.request(path, "POST", body=body)).status == 200
        await events.wait_recorded(message, 6)
        [leaves] = await data_of(events, message, "email.unsubscribed")
        assert leaves["unsubscribe"] == {"method": "one_click", "list": "offers"}
        topic = f"{topic_prefix}events.recipient-unsubscribed.v1"
        records = await all_of(topic, bootstrap_servers)
        found = [RecipientUnsubscribed.FromString(one.value) for one in records]
        mine = [one for one in found if one.message_id == message.message_id]
        assert {(one.scope, one.list, one.recipient) for one in mine} == {
            ("list/offers", "offers", "ann@example.net")
        }
        assert len(mine) == 1

    run(scenario)


def test_hits_of_mail_that_the_log_has_dropped_hold_up_no_others(run: Callable[..., None]) -> None:
    async def scenario(events: Running, client: LinkClient) -> None:
        old = MessageEvents()
        old.message_id = str(uuid7_of(clock.now_ms() - 35 * DAY_MS, bytes(10)))
        await client.request(click_path(old, URL))
        message = await publish_delivered(events)
        await client.request(click_path(message, URL))
        await events.wait_recorded(message, 6)
        assert events.count(old) == 0

    run(scenario)


def test_links_outlive_the_log(
    run: Callable[..., None], bootstrap_servers: str, topic_prefix: str
) -> None:
    """Whoever still has the mail can leave by the button of the mail program."""

    async def scenario(events: Running, client: LinkClient) -> None:
        old = MessageEvents()
        old.message_id = str(uuid7_of(clock.now_ms() - 700 * DAY_MS, bytes(10)))
        assert (await client.request(click_path(old, URL))).headers["location"] == URL
        for body in (ONE_CLICK, ONE_CLICK):
            leave = unsubscribe_path(old, "offers")
            assert (await client.request(leave, "POST", body=body)).status == 200
        message = await publish_delivered(events)
        await client.request(click_path(message, URL))
        await events.wait_recorded(message, 6)
        topic = f"{topic_prefix}events.recipient-unsubscribed.v1"
        found: set[tuple[str, ...]] = set()
        while not found:
            found = {
                (event.scope, event.list, event.recipient, event.tenant_id, event.method)
                for one in await all_of(topic, bootstrap_servers)
                if (event := RecipientUnsubscribed.FromString(one.value)).message_id
                == old.message_id
            }
        assert found == {("list/offers", "offers", "ann@example.net", old.tenant_id, "one_click")}

    run(scenario)


def test_webhooks_learn_who_leaves_when_the_log_has_forgotten_the_message(
    run: Callable[..., None],
) -> None:
    """Once, with what the link tells. A webhook with filters cannot know whether they match."""

    async def scenario(events: Running, client: LinkClient) -> None:
        old = MessageEvents()
        old.message_id = str(uuid7_of(clock.now_ms() - 700 * DAY_MS, bytes(10)))
        async with receiving() as receiver:
            for path, tags in (("/all", []), ("/tagged", ["spring"])):
                request = CreateWebhookRequest(
                    tenant_id=old.tenant_id, url=receiver.url + path,
                    event_types=["email.unsubscribed"], tags=tags,
                )  # fmt: skip
                await events.call(events.stub.CreateWebhook, request)
            for list_name in ("offers", "offers", "news"):
                leave = unsubscribe_path(old, list_name)
                assert (await client.request(leave, "POST", body=ONE_CLICK)).status == 200
            await until(lambda: len(receiver.received) >= 2)
            message = await publish_delivered(events, MessageEvents(tenant_id=old.tenant_id))
            await client.request(unsubscribe_path(message, "last"), "POST", body=ONE_CLICK)
            await until(lambda: len(receiver.received) >= 3)
            received = [json.loads(one.body) for one in receiver.received]
        late, [known] = received[:2], [one["data"] for one in received[2:]]
        assert {one["tenant_id"] for one in late} == {old.tenant_id}
        common = {
            "email_id": None, "message_id": old.message_id, "recipient": "ann@example.net",
            "test": False,
        }  # fmt: skip
        assert sorted([one["data"] for one in late], key=repr) == [
            common | {"unsubscribe": {"method": "one_click", "list": name}}
            for name in ("news", "offers")
        ]
        assert known["email_id"] == message.email_id

    run(scenario)


def test_modes_below_identified_reveal_no_recipient(run: Callable[..., None]) -> None:
    async def scenario(events: Running, client: LinkClient) -> None:
        known, nobody = await publish_delivered(events), await publish_delivered(events)
        await client.request(open_path(known, TrackingMode.PSEUDONYMOUS))
        await client.request(open_path(nobody, TrackingMode.ANONYMOUS))
        await events.wait_recorded(known, 6)
        [opened] = await data_of(events, known, "email.opened")
        assert opened["recipient"] == ""
        assert opened["open"]["ipAddress"] is None

        def counted() -> bool:
            rows = events.rows(
                "SELECT opens FROM events.engagement WHERE subject_id = ANY(%s::uuid[])",
                ([known.message_id, nobody.email_id],),
            )
            return rows == [(1,), (1,)]

        await until(counted, within_s=60)
        assert (await engagement_of(events, nobody)).opens == 1
        assert events.count(nobody) == 5

    run(scenario)


def test_recipients_of_an_anonymous_email_are_no_burst_of_one(run: Callable[..., None]) -> None:
    async def scenario(events: Running, client: LinkClient) -> None:
        first = await publish_delivered(events)
        others = [
            MessageEvents(tenant_id=first.tenant_id, email_id=first.email_id) for _ in range(2)
        ]
        for message in others:
            await publish_delivered(events, message)
        for number, message in enumerate([first, *others]):
            link = f"https://shop.example/{number}"
            await client.request(click_path(message, link, TrackingMode.ANONYMOUS))

        def counted() -> bool:
            rows = events.rows(
                "SELECT clicks, machine_clicks FROM events.engagement WHERE subject_id = %s",
                (first.email_id,),
            )
            return sum(sum(row) for row in rows) == 3

        await until(counted, within_s=60)
        found = await engagement_of(events, first)
        assert (found.clicks, found.machine_clicks) == (3, 0)

    run(scenario, tracking_linger_s=1.0)


def test_a_hit_waits_for_its_message_and_no_longer_than_allowed(run: Callable[..., None]) -> None:
    async def scenario(events: Running, client: LinkClient) -> None:
        early, never = MessageEvents(), MessageEvents()
        await client.request(click_path(early, URL))
        await events.publish(*delivered_earlier(early))
        await events.wait_recorded(early, 6)
        await client.request(click_path(never, URL))
        late = await publish_delivered(events)
        await client.request(click_path(late, URL))
        await events.wait_recorded(late, 6)
        assert events.count(never) == 0

    run(scenario, tracking_unknown_wait_s=3.0)
