"""Webhook deliveries on real Kafka and PostgreSQL, to endpoints of all kinds."""

import asyncio
import json
import time

import pytest
from aiohttp import web
from standardwebhooks import Webhook as Verifier

from contracts.events.v1.events_service_pb2 import (
    CreateWebhookRequest,
    GetWebhookRequest,
    ListWebhookEventsRequest,
    Webhook,
    WebhookEvent,
)
from contracts.events.v1.events_service_pb2 import (
    TestWebhookRequest as WebhookTest,
)
from contracts.ingest.v1.events_pb2 import DomainChanged
from contracts.router.v1.events_pb2 import CLOSED_STATE_BOUNCED, SuppressionChanged
from contracts.router.v1.policies_pb2 import StandingChanged
from kernel.rpc import RpcError
from services.events.domain.schedule import CIRCUIT_FAILURES
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.message_events import REFUSED, MessageEvents
from tests.support.receiver import receiving, respond_with

__all__ = ["run_scenario"]
PROBE_INTERVAL_S = 3.0
QUICK = {"webhook_retry_schedule_s": [0, 0.05, 0.05]}


async def create_webhook(events: Running, message: MessageEvents, url: str, *types: str) -> Webhook:
    request = CreateWebhookRequest(tenant_id=message.tenant_id, url=url, event_types=types)
    return (await events.call(events.stub.CreateWebhook, request)).webhook


async def ended(events: Running, message: MessageEvents, one: Webhook, status: str) -> WebhookEvent:
    """The only event of a webhook, once it has the status."""
    request = ListWebhookEventsRequest(tenant_id=message.tenant_id, id=one.id)

    async def find() -> WebhookEvent | None:
        [found] = (await events.call(events.stub.ListWebhookEvents, request)).events
        return found if found.status == status else None

    return await until(find)


async def get_webhook(events: Running, message: MessageEvents, one: Webhook) -> Webhook:
    request = GetWebhookRequest(tenant_id=message.tenant_id, id=one.id)
    return (await events.call(events.stub.GetWebhook, request)).webhook


def test_an_endpoint_receives_sent_and_delivered_with_valid_signatures(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            message = MessageEvents(tags={"kind": "order"})
            hook = await create_webhook(events, message, receiver.url + "/hook")
            await events.publish(*message.delivered())
            await until(lambda: len(receiver.received) == 2)
            verifier = Verifier(hook.signing_secret)
            bodies = [verifier.verify(one.body, one.headers) for one in receiver.received]
            assert {body["type"] for body in bodies} == {"email.sent", "email.delivered"}
            assert {one.headers["webhook-id"] for one in receiver.received} == {
                body["id"] for body in bodies
            }
            delivered = next(body for body in bodies if body["type"] == "email.delivered")["data"]
            assert delivered["smtp"]["code"] == 250
            assert delivered["recipient"] == "ann@example.net"
            assert delivered["to"] == ["ann@example.net"]
            assert delivered["tags"] == {"kind": "order"}
            assert sorted(body["data"]["seq"] for body in bodies) == [1, 2]

    run_scenario.shared(scenario, **QUICK)


def test_a_repeated_event_is_delivered_once(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            message, other = MessageEvents(), MessageEvents()
            await create_webhook(events, message, receiver.url, "email.delivered")
            await events.publish(*message.delivered())
            await events.wait_recorded(message, 5)
            await events.publish(*message.delivered(), *message.delivered(), *other.delivered())
            await events.wait_recorded(other, 5)
            await until(lambda: len(receiver.received) > 0)
            assert len(receiver.received) == 1
            assert events.count(message) == 5

    run_scenario.shared(scenario, **QUICK)


def test_a_failed_attempt_is_repeated_with_the_same_id(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            receiver.behaviors["/"] = respond_with(503, 500, 200)
            message = MessageEvents()
            hook = await create_webhook(events, message, receiver.url + "/", "email.bounced")
            await events.publish(
                message.accepted(), message.closed(CLOSED_STATE_BOUNCED, reply=REFUSED)
            )
            await until(lambda: len(receiver.received) == 3)
            assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
            assert len({one.body for one in receiver.received}) == 1
            assert receiver.received[0].json["data"]["bounce"]["type"] == "Permanent"
            assert receiver.received[0].json["data"]["bounce"]["diagnosticCode"] == [
                "550 5.1.1 no such user"
            ]
            assert (await ended(events, message, hook, "success")).attempt_count == 3

    run_scenario.shared(scenario, **QUICK)


def test_attempts_end_with_the_schedule(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            receiver.behaviors["/"] = respond_with(500)
            message = MessageEvents()
            hook = await create_webhook(events, message, receiver.url + "/", "email.delivered")
            await events.publish(*message.delivered())
            await until(lambda: len(receiver.received) == 3)
            found = await ended(events, message, hook, "failed")
            assert (found.attempt_count, found.http_status) == (3, 500)
            assert found.error.startswith("HTTP 500")

    run_scenario.shared(scenario, **QUICK)


def test_an_endpoint_that_returns_410_is_disabled_and_the_tenant_is_notified(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            receiver.behaviors["/gone"] = respond_with(410)
            message = MessageEvents()
            gone = await create_webhook(events, message, receiver.url + "/gone", "email.delivered")
            await create_webhook(events, message, receiver.url + "/other", "webhook.disabled")
            await events.publish(*message.delivered())
            await until(lambda: bool(receiver.at("/other")))
            body = receiver.at("/other")[0].json
            assert body["type"] == "webhook.disabled"
            assert body["data"] == {"webhook_id": gone.id, "reason": "gone"}
            after = await get_webhook(events, message, gone)
            assert (after.enabled, after.disabled_reason) == (False, "gone")

    run_scenario.shared(scenario, **QUICK)


def test_a_redirect_is_not_followed(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            receiver.behaviors["/away"] = respond_with(302, headers={"location": "/secret"})
            message = MessageEvents()
            hook = await create_webhook(events, message, receiver.url + "/away", "email.delivered")
            await events.publish(*message.delivered())
            await until(lambda: len(receiver.at("/away")) == 3)
            await ended(events, message, hook, "failed")
            assert receiver.at("/secret") == []

    run_scenario.shared(scenario, **QUICK)


def test_a_test_event_reaches_the_endpoint_whatever_its_filter(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            message = MessageEvents()
            hook = await create_webhook(events, message, receiver.url, "email.bounced")
            request = WebhookTest(tenant_id=message.tenant_id, id=hook.id)
            response = await events.call(events.stub.TestWebhook, request)
            await until(lambda: len(receiver.received) == 1)
            body = receiver.received[0].json
            assert (body["id"], body["type"]) == (response.event_id, "webhook.test")
            with pytest.raises(RpcError, match="webhook not found"):
                await events.call(
                    events.stub.TestWebhook,
                    WebhookTest(tenant_id=MessageEvents().tenant_id, id=hook.id),
                )

    run_scenario.shared(scenario, **QUICK)


def test_a_change_of_a_domain_is_delivered_once_although_it_is_published_twice(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            message = MessageEvents()
            await create_webhook(events, message, receiver.url, "domain.verified")
            change = DomainChanged(
                domain_id=message.message_id, version=7, type="domain.verified",
                tenant_id=message.tenant_id, name="shop.example.net", status="verified",
            )  # fmt: skip
            other = DomainChanged(domain_id=message.message_id, version=6, type="domain.updated",
                                  tenant_id=message.tenant_id)  # fmt: skip
            await events.publish(other, change, change)
            await until(lambda: bool(receiver.received))
            [body] = [json.loads(one.body) for one in receiver.received]
            assert body["type"] == "domain.verified"
            assert body["data"]["id"] == message.message_id
            assert body["data"]["status"] == "verified"

    run_scenario.shared(scenario, **QUICK)


def test_the_standing_of_a_tenant_is_delivered_to_it(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            message = MessageEvents()
            await create_webhook(
                events, message, receiver.url, "tenant.warned", "tenant.paused", "tenant.resumed"
            )
            standings = ("warned", "paused", "good")
            changes = [
                StandingChanged(
                    subject_kind="tenant", subject_id=message.tenant_id, version=version,
                    standing=standing, reason="bounces", rate=0.25,
                )
                for version, standing in enumerate(standings, 1)
            ]  # fmt: skip
            source = StandingChanged()
            source.CopyFrom(changes[0])
            source.subject_kind, source.subject_id = "egress", message.email_id
            await events.publish(source, changes[0], changes[0])
            await until(lambda: len(receiver.received) == 1)
            for one in changes[1:]:
                await events.publish(one, changes[0])
            await until(lambda: len(receiver.received) == 3)
            bodies = [json.loads(one.body) for one in receiver.received]
            types = [one["type"] for one in bodies]
            assert types[0] == "tenant.warned"
            assert set(types) == {"tenant.warned", "tenant.paused", "tenant.resumed"}
            assert bodies[0]["data"] == {
                "id": message.tenant_id, "standing": "warned", "reason": "bounces", "rate": 0.25,
                "changed_at": "1970-01-01T00:00:00.000Z",
            }  # fmt: skip

    run_scenario.shared(scenario, **QUICK)


def test_changes_of_suppressions_are_delivered_to_their_tenant_alone(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            message = MessageEvents()
            await create_webhook(
                events, message, receiver.url, "suppression.added", "suppression.removed"
            )
            added = SuppressionChanged(
                suppression_id=message.message_id, change="added", origin="bounce",
                tenant_id=message.tenant_id, address="ann@example.net", reason="bad_domain",
                source_id=message.message_id,
            )  # fmt: skip
            removed, of_account = SuppressionChanged(), SuppressionChanged()
            for one in (removed, of_account):
                one.CopyFrom(added)
            removed.change, removed.changed_by = "removed", "key"
            of_account.suppression_id = of_account.account_id = MessageEvents().email_id
            of_account.tenant_id = ""
            await events.publish(of_account, added, added)
            await until(lambda: len(receiver.received) == 1)
            await events.publish(removed, added)
            await until(lambda: len(receiver.received) == 2)
            bodies = [json.loads(one.body) for one in receiver.received]
            assert [one["type"] for one in bodies] == ["suppression.added", "suppression.removed"]
            assert bodies[0]["data"] == {
                "id": message.message_id, "email": "ann@example.net", "origin": "bounce",
                "source_id": message.message_id, "created_at": "1970-01-01T00:00:00.000Z",
                "list": None, "reason": "bad_domain", "note": None, "expires_at": None,
                "changed_by": None,
            }  # fmt: skip
            assert bodies[1]["data"]["changed_by"] == "key"

    run_scenario.shared(scenario, **QUICK)


def test_an_endpoint_that_hangs_does_not_delay_others(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:

            async def hang(_: web.Request) -> web.Response:
                await asyncio.Event().wait()
                return web.Response()

            receiver.behaviors["/slow"] = hang
            slow = MessageEvents()
            await create_webhook(events, slow, receiver.url + "/slow", "email.delivered")
            messages = [MessageEvents(tenant_id=slow.tenant_id) for _ in range(40)]
            await events.publish(*(event for one in messages for event in one.delivered()))
            await until(lambda: len(receiver.at("/slow")) == 3)
            quick = MessageEvents()
            await create_webhook(events, quick, receiver.url + "/quick", "email.delivered")
            await events.publish(*quick.delivered())
            await until(lambda: bool(receiver.at("/quick")))
            assert len(receiver.at("/slow")) == 3  # its concurrency

    run_scenario(
        scenario,
        webhook_concurrency=3,
        webhook_timeout_s=600.0,  # longer than the test waits
        webhook_lease_s=900.0,
        shutdown_timeout_s=0.1,
    )


def test_a_failing_endpoint_is_probed_and_recovers(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            receiver.behaviors["/"] = respond_with(500)
            tenant = MessageEvents()
            await create_webhook(events, tenant, receiver.url + "/", "email.delivered")
            messages = [MessageEvents(tenant_id=tenant.tenant_id) for _ in range(30)]
            began_s = time.monotonic()
            await events.publish(*(event for one in messages for event in one.delivered()))
            await until(lambda: len(receiver.received) >= 5)
            await asyncio.sleep(0.5)
            probes = 1 + (time.monotonic() - began_s) // PROBE_INTERVAL_S
            # Ten at once, four more until the fifth failure, and the probes.
            assert len(receiver.received) <= 14 + probes
            receiver.behaviors["/"] = respond_with(200)
            await until(lambda: len({r.headers["webhook-id"] for r in receiver.received}) == 30)

    run_scenario(
        scenario,
        webhook_retry_schedule_s=[0] + [0.05] * 20,
        webhook_probe_interval_s=PROBE_INTERVAL_S,
        webhook_lease_s=22.0,
    )


def test_failures_recorded_with_a_success_do_not_block_an_endpoint(
    run_scenario: ScenarioRunner,
) -> None:
    """The database counts none of them: a success outweighs failures of the same group."""

    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            receiver.behaviors["/"] = respond_with(200, *[503] * CIRCUIT_FAILURES, 200)
            tenant = MessageEvents()
            await create_webhook(events, tenant, receiver.url + "/", "email.delivered")
            messages = [
                MessageEvents(tenant_id=tenant.tenant_id) for _ in range(1 + CIRCUIT_FAILURES)
            ]
            await events.publish(*(event for one in messages for event in one.delivered()))
            await until(lambda: len(receiver.received) == 1 + 2 * CIRCUIT_FAILURES)

    run_scenario(scenario, webhook_concurrency=1, webhook_retry_schedule_s=[0, 0.5, 0.5])
