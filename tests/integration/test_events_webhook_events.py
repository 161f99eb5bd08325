"""The events of a webhook with their attempts, and sending them again."""

from typing import Any

import pytest
from aiohttp import web

from contracts.events.v1 import events_service_pb2 as pb
from kernel.ids import uuid7_text
from kernel.rpc import RpcError
from services.events.domain.webhook_attempt_record import ATTEMPTS_MAX, WebhookAttemptRecord
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.message_events import MessageEvents
from tests.support.receiver import receiving, respond_with

__all__ = ["run_scenario"]
QUICK = {"webhook_retry_schedule_s": [0, 0.05, 0.05]}


class Hook:
    """A webhook of the message's tenant, and its events."""

    def __init__(self, events: Running, message: MessageEvents) -> None:
        self.events = events
        self.message = message
        self.names: dict[str, Any] = {"tenant_id": message.tenant_id, "id": ""}

    async def create(self, url: str, *types: str) -> None:
        request = pb.CreateWebhookRequest(
            tenant_id=self.message.tenant_id, url=url, event_types=types
        )
        made = await self.events.call(self.events.stub.CreateWebhook, request)
        self.names["id"] = made.webhook.id

    async def listed(self) -> list[pb.WebhookEvent]:
        request = pb.ListWebhookEventsRequest(**self.names)
        return list((await self.events.call(self.events.stub.ListWebhookEvents, request)).events)

    async def shown(self, event_id: str) -> pb.GetWebhookEventResponse:
        request = pb.GetWebhookEventRequest(**self.names, event_id=event_id)
        return await self.events.call(self.events.stub.GetWebhookEvent, request)

    async def replay(self, event_id: str) -> None:
        request = pb.ReplayWebhookEventRequest(**self.names, event_id=event_id)
        await self.events.call(self.events.stub.ReplayWebhookEvent, request)

    async def until_is(self, status: str, event_id: str = "") -> pb.WebhookEvent:
        """Its only event, or that with the id, once it has the status."""

        async def find() -> pb.WebhookEvent | None:
            for one in await self.listed():
                if one.id == (event_id or one.id) and one.status == status:
                    return one
            return None

        return await until(find)


def test_an_event_shows_each_attempt_with_the_response(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            responses = [(503, "busy\n" * 1000), (200, "thanks \x00 " + "x" * 500)]

            async def respond(_: web.Request) -> web.Response:
                status, text = responses.pop(0)
                return web.Response(status=status, text=text)

            receiver.behaviors["/"] = respond
            hook = Hook(events, MessageEvents())
            await hook.create(receiver.url + "/", "email.delivered")
            await events.publish(*hook.message.delivered())
            event = await hook.until_is("success")
            shown = await hook.shown(event.id)
            assert (event.type, event.attempt_count, event.http_status) == (
                "email.delivered",
                2,
                200,
            )
            assert not event.HasField("next_attempt_at")
            assert shown.event == event
            assert shown.payload == receiver.received[0].body == receiver.received[1].body
            second, first = shown.attempts
            assert (first.http_status, second.http_status) == (503, 200)
            assert first.response.startswith("busy busy")
            assert len(first.response) <= 1000
            assert second.response.startswith("thanks   xx")
            assert len(second.response) <= 200
            assert second.id > first.id
            assert second.sent_at.ToMilliseconds() >= first.sent_at.ToMilliseconds()

    run_scenario.shared(scenario, **QUICK)


def test_an_attempt_without_a_response_has_the_reason(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        hook = Hook(events, MessageEvents())
        await hook.create("http://127.0.0.1:1/", "email.delivered")
        await events.publish(*hook.message.delivered())
        event = await hook.until_is("failed")
        attempts = (await hook.shown(event.id)).attempts
        assert [one.http_status for one in attempts] == [0, 0, 0]
        assert "Connect" in attempts[0].error

    run_scenario.shared(scenario, **QUICK)


def test_a_delivered_event_is_replayed_with_the_same_id(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            hook = Hook(events, MessageEvents())
            await hook.create(receiver.url, "email.delivered")
            await events.publish(*hook.message.delivered())
            event = await hook.until_is("success")
            await hook.replay(event.id)
            await until(lambda: len(receiver.received) == 2)
            first, second = receiver.received
            assert first.headers["webhook-id"] == second.headers["webhook-id"] == event.id
            assert first.body == second.body
            await hook.until_is("success")
            assert len((await hook.shown(event.id)).attempts) == 2

    run_scenario.shared(scenario, **QUICK)


def test_a_replay_of_a_failed_event_begins_the_schedule_anew(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            receiver.behaviors["/"] = respond_with(500, 500, 500, 500, 200)
            hook = Hook(events, MessageEvents())
            await hook.create(receiver.url + "/", "email.delivered")
            await events.publish(*hook.message.delivered())
            event = await hook.until_is("failed")
            await hook.replay(event.id)
            event = await hook.until_is("success")
            assert event.attempt_count == 2
            assert len((await hook.shown(event.id)).attempts) == 5

    run_scenario.shared(scenario, **QUICK)


def test_what_cannot_be_sent_is_not_replayed(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            hook = Hook(events, MessageEvents())
            await hook.create(receiver.url, "email.delivered")
            await events.publish(*hook.message.delivered())
            event = await hook.until_is("success")
            with pytest.raises(RpcError, match="event not found"):
                await hook.replay("evt_" + uuid7_text())
            update = pb.UpdateWebhookRequest(**hook.names, enabled=False)
            await events.call(events.stub.UpdateWebhook, update)
            with pytest.raises(RpcError, match="the webhook is disabled"):
                await hook.replay(event.id)
            update.enabled = True
            await events.call(events.stub.UpdateWebhook, update)
            events.rows(
                "DELETE FROM events.log WHERE subject_id = %s RETURNING 1",
                (hook.message.message_id,),
            )
            with pytest.raises(RpcError, match="the event is no longer kept"):
                await hook.replay(event.id)
            assert (await hook.shown(event.id)).payload == b""
            assert len(receiver.received) == 1

    run_scenario.shared(scenario, **QUICK)


def test_the_latest_attempts_are_kept(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            hook = Hook(events, MessageEvents())
            await hook.create(receiver.url, "email.delivered")
            await events.publish(*hook.message.delivered())
            event = await hook.until_is("success")
            earlier = [
                WebhookAttemptRecord(uuid7_text(), 500, 1, "old", "").encode()
                for _ in range(ATTEMPTS_MAX)
            ]
            events.rows(
                "UPDATE events.webhook_deliveries SET attempts = %s WHERE endpoint_id = %s"
                " RETURNING 1",
                (earlier, hook.names["id"]),
            )
            await hook.replay(event.id)
            await until(lambda: len(receiver.received) == 2)
            await hook.until_is("success")
            attempts = (await hook.shown(event.id)).attempts
            assert len(attempts) == ATTEMPTS_MAX
            assert [one.http_status for one in attempts[:2]] == [200, 500]

    run_scenario.shared(scenario, **QUICK)


def test_an_account_sees_what_its_webhook_received_about_tenants(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            account_id = uuid7_text()
            message = MessageEvents(account_id=account_id)
            request = pb.CreateWebhookRequest(account_id=account_id, url=receiver.url)
            made = (await events.call(events.stub.CreateWebhook, request)).webhook
            await events.publish_in_order(*message.delivered(), message.complained())
            await until(lambda: len(receiver.received) == 3)
            for one in receiver.received:
                shown = await events.call(
                    events.stub.GetWebhookEvent,
                    pb.GetWebhookEventRequest(
                        account_id=account_id, id=made.id, event_id=one.headers["webhook-id"]
                    ),
                )
                assert shown.payload == one.body

    run_scenario.shared(scenario, **QUICK)


def test_a_replay_of_an_event_that_waits_sends_it_now(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            receiver.behaviors["/"] = respond_with(500, 200)
            hook = Hook(events, MessageEvents())
            await hook.create(receiver.url + "/", "email.delivered")
            await events.publish(*hook.message.delivered())
            await until(lambda: len(receiver.received) == 1)
            event = await hook.until_is("pending")
            while not event.attempt_count:
                event = await hook.until_is("pending")
            assert event.HasField("next_attempt_at")
            await hook.replay(event.id)
            assert (await hook.until_is("success")).attempt_count == 2

    run_scenario(scenario, webhook_retry_schedule_s=[0, 86_000])
