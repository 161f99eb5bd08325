"""The log on real Kafka and PostgreSQL: events are recorded once, in any order, and read back."""

import asyncio
import random
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from contracts.events.v1.events_service_pb2 import (
    CreateWebhookRequest,
    DeleteWebhookRequest,
    GetWebhookRequest,
    ListEmailsRequest,
    ListEventsRequest,
    ListEventsResponse,
    ListWebhookEventsRequest,
    ListWebhooksRequest,
)
from contracts.events.v1.events_service_pb2 import TestWebhookRequest as WebhookTest
from contracts.router.v1.events_pb2 import CLOSED_STATE_BOUNCED
from contracts.shield.v1.events_pb2 import VERDICT_HOLD
from kernel.ids import uuid7_text
from kernel.rpc import RpcError
from services.events.domain.log_event import StatusRank
from tests.support.events import Running, ScenarioRunner, run_scenario
from tests.support.message_events import DEFERRED, REFUSED, MessageEvents

__all__ = ["run_scenario"]


async def timeline(
    events: Running, message: MessageEvents, *, limit: int = 0, after: str = ""
) -> ListEventsResponse:
    request = ListEventsRequest(
        tenant_id=message.tenant_id, email_id=message.email_id, limit=limit, after=after
    )
    return await events.call(events.stub.ListEvents, request)


async def emails(
    events: Running,
    tenant_id: str,
    **filters: Any,  # noqa: ANN401
) -> list[str]:
    request = ListEmailsRequest(tenant_id=tenant_id, **filters)
    return [email.id for email in (await events.call(events.stub.ListEmails, request)).emails]


def test_the_timeline_of_a_delivered_message_is_in_causal_order(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        message = MessageEvents()
        await events.publish(*reversed(message.delivered()))
        await events.wait_recorded(message, 5)
        response = await timeline(events, message)
        assert [event.type for event in response.events] == [
            "email.sent",
            "message.screened",
            "message.assigned",
            "message.attempted",
            "email.delivered",
        ]
        assert sorted(event.seq for event in response.events) == [1, 2, 3, 4, 5]
        attempt = MessageToDict(response.events[3])
        assert attempt["data"]["smtp"]["response"] == "queued as 1"
        assert await events.find_open(message) == []
        first = await timeline(events, message, limit=2)
        rest = await timeline(events, message, limit=100, after=first.events[-1].id)
        assert (first.has_more, rest.has_more) == (True, False)
        assert [*first.events, *rest.events] == list(response.events)

    run_scenario.shared(scenario)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("after", ["assigned", "reviewed"])
def test_held_mail_is_not_listed_as_held_once_it_was_released(
    run_scenario: ScenarioRunner, *, together: bool, after: str
) -> None:
    async def scenario(events: Running) -> None:
        message = MessageEvents()
        screened = message.screened()
        screened.verdict = VERDICT_HOLD
        before = [message.accepted(), screened]
        if not together:
            await events.publish(*before)
            await events.wait_recorded(message, 2)
            assert await emails(events, message.tenant_id, status="held") == [message.email_id]
            before = []
        await events.publish(*before, getattr(message, after)())
        await events.wait_recorded(message, 3)
        assert await emails(events, message.tenant_id, status="held") == []
        assert await emails(events, message.tenant_id, status="sent") == [message.email_id]

    run_scenario.shared(scenario)


def all_events(message: MessageEvents) -> list[Message]:
    return [
        message.accepted(),
        message.screened(),
        message.assigned(1),
        message.attempted(1, reply=DEFERRED),
        message.delayed(1),
        message.assigned(2),
        message.attempted(2, reply=REFUSED),
        message.closed(CLOSED_STATE_BOUNCED, reply=REFUSED),
        message.complained(),
    ]


def test_any_order_with_repeats_gives_the_same_rows(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        messages = [MessageEvents(tags={"kind": "order"}) for _ in range(12)]
        chance = random.Random(7)
        pending = [event for message in messages for event in all_events(message)]
        pending += chance.sample(pending, len(pending) // 2)
        chance.shuffle(pending)
        while pending:
            some, pending = pending[:20], pending[20:]
            await events.publish(*some)
            await asyncio.sleep(chance.choice([0, 0.03, 0.06]))
        for message in messages:
            await events.wait_recorded(message, 9)
        await events.publish(*(event for message in messages for event in all_events(message)))
        await asyncio.sleep(0.3)
        for message in messages:
            by_message = (message.message_id,)
            assert events.rows(
                "SELECT seq, rank, closed FROM events.state WHERE subject_id = %s", by_message
            ) == [(9, StatusRank.COMPLAINED, CLOSED_STATE_BOUNCED)]
            numbers = events.rows(
                "SELECT seq FROM events.log WHERE subject_id = %s UNION ALL"
                " SELECT seq FROM events.unpartitioned_log WHERE subject_id = %s ORDER BY seq",
                by_message * 2,
            )
            assert [seq for (seq,) in numbers] == list(range(1, 10))
            assert events.rows(
                "SELECT rank FROM events.emails WHERE email_id = %s", (message.email_id,)
            ) == [(StatusRank.COMPLAINED,)]
            assert await emails(events, message.tenant_id, status="complained") == [
                message.email_id
            ]

    run_scenario.shared(scenario)


def test_open_and_unknown_messages_are_found(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        closed, waiting, unknown = MessageEvents(), MessageEvents(), MessageEvents()
        await events.publish(*closed.delivered(), waiting.accepted(), waiting.screened())
        await events.wait_recorded(closed, 5)
        await events.wait_recorded(waiting, 2)
        assert await events.find_open(closed, waiting, unknown) == [
            waiting.message_id,
            unknown.message_id,
        ]

    run_scenario.shared(scenario)


def test_an_email_to_two_recipients_is_listed_and_sent_once(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        ann = MessageEvents("ann@example.net")
        bob = MessageEvents("Bob@Example.org", tenant_id=ann.tenant_id, email_id=ann.email_id)
        await events.publish(*ann.delivered())
        await events.wait_recorded(ann, 5)
        await events.publish(bob.accepted(), bob.closed(CLOSED_STATE_BOUNCED, reply=REFUSED))
        await events.wait_recorded(bob, 2)
        types = [event.type for event in (await timeline(events, ann)).events]
        assert types.count("email.sent") == 1
        assert types.count("message.accepted") == 1
        for filters in (
            {"to": "bob@example.org"},
            {"domain": "example.net"},
            {"status": "bounced"},
        ):
            assert await emails(events, ann.tenant_id, **filters) == [ann.email_id]
        assert await emails(events, ann.tenant_id, status="delivered") == []

    run_scenario.shared(scenario)


def test_emails_are_listed_newest_first_by_page_and_filter(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        tenant = uuid7_text()
        messages = [
            MessageEvents(
                f"u{n}@{'odd' if n % 2 else 'even'}.example", tenant_id=tenant, tags={"n": str(n)}
            )
            for n in range(7)
        ]
        await events.publish(*(message.accepted() for message in messages))
        await events.publish(messages[3].closed())
        for message in messages:
            await events.wait_recorded(message, 2 if message is messages[3] else 1)
        newest = [message.email_id for message in reversed(messages)]
        assert await emails(events, tenant) == newest
        assert await emails(events, tenant, limit=3) == newest[:3]
        assert await emails(events, tenant, limit=3, after=newest[2]) == newest[3:6]
        assert await emails(events, tenant, limit=3, before=newest[3]) == newest[:3]
        assert await emails(events, tenant, tag="n", limit=2) == newest[:2]
        assert await emails(events, tenant, tag="n:5") == [newest[1]]
        assert await emails(events, tenant, domain="odd.example") == newest[1::2]
        assert await emails(events, tenant, to="u3@odd.example", status="delivered") == [newest[3]]
        assert await emails(events, tenant, tag="n:5", domain="even.example") == []
        with pytest.raises(RpcError, match="unknown status 'lost'"):
            await emails(events, tenant, status="lost")
        with pytest.raises(RpcError, match="limit must be"):
            await emails(events, tenant, limit=101)

    run_scenario.shared(scenario)


def test_a_tenant_cannot_see_the_data_of_another(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine, foreign = MessageEvents(), MessageEvents()
        await events.publish(*mine.delivered())
        await events.wait_recorded(mine, 5)
        create = CreateWebhookRequest(tenant_id=mine.tenant_id, url="https://example.com/hook")
        hook = (await events.call(events.stub.CreateWebhook, create)).webhook
        other_tenant: dict[str, Any] = {"tenant_id": foreign.tenant_id}
        assert await emails(events, foreign.tenant_id) == []
        log = ListEventsRequest(**other_tenant, email_id=mine.email_id)
        assert not (await events.call(events.stub.ListEvents, log)).events
        listed = await events.call(events.stub.ListWebhooks, ListWebhooksRequest(**other_tenant))
        assert not listed.webhooks
        requests: list[tuple[Any, Message]] = [
            (events.stub.GetWebhook, GetWebhookRequest(**other_tenant, id=hook.id)),
            (events.stub.DeleteWebhook, DeleteWebhookRequest(**other_tenant, id=hook.id)),
            (events.stub.TestWebhook, WebhookTest(**other_tenant, id=hook.id)),
            (
                events.stub.ListWebhookEvents,
                ListWebhookEventsRequest(**other_tenant, id=hook.id),
            ),
        ]
        for method, request in requests:
            with pytest.raises(RpcError, match="webhook not found"):
                await events.call(method, request)
        own = ListWebhooksRequest(tenant_id=mine.tenant_id)
        [listed_webhook] = (await events.call(events.stub.ListWebhooks, own)).webhooks
        assert (listed_webhook.id, listed_webhook.signing_secret) == (hook.id, "")

    run_scenario.shared(scenario)


def test_scheduled_mail_has_one_scheduled_and_one_sent_event(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        message = MessageEvents(scheduled_s=3600)
        await events.publish(message.accepted(), message.screened())
        await events.wait_recorded(message, 2)
        assert await emails(events, message.tenant_id, status="scheduled") == [message.email_id]
        await events.publish(message.assigned(1))
        await events.wait_recorded(message, 3)
        await events.publish(message.assigned(2), message.closed())
        await events.wait_recorded(message, 5)
        types = [event.type for event in (await timeline(events, message)).events]
        assert types == [
            "email.scheduled",
            "message.screened",
            "email.sent",
            "message.assigned",
            "email.delivered",
        ]

    run_scenario.shared(scenario)


def test_two_replicas_record_everything_once(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with run_scenario.service():
            messages = [MessageEvents() for _ in range(40)]
            chance = random.Random(11)
            pending = [event for message in messages for event in all_events(message) * 2]
            chance.shuffle(pending)
            while pending:
                some, pending = pending[:60], pending[60:]
                await events.publish(*some)
                await asyncio.sleep(chance.choice([0, 0.05, 0.2]))
            for message in messages:
                await events.wait_recorded(message, 9)
        for message in messages:
            numbers = events.rows(
                "SELECT seq FROM events.log WHERE subject_id = %s UNION ALL"
                " SELECT seq FROM events.unpartitioned_log WHERE subject_id = %s ORDER BY seq",
                (message.message_id, message.message_id),
            )
            assert [seq for (seq,) in numbers] == list(range(1, 10))
            assert events.rows(
                "SELECT s.seq, s.rank, e.rank FROM events.state s"
                " JOIN events.emails e USING (tenant_id, email_id) WHERE s.subject_id = %s",
                (message.message_id,),
            ) == [(9, StatusRank.COMPLAINED, StatusRank.COMPLAINED)]

    run_scenario.shared(scenario)
