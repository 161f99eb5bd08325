"""Webhooks for a domain, a tag or a stream, with header fields of their own."""

from typing import Any

import pytest
from svix.webhooks import Webhook as SvixWebhook

from contracts.events.v1 import events_service_pb2 as pb
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.ids import uuid7_text
from kernel.rpc import RpcError
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.message_events import MessageEvents
from tests.support.receiver import receiving

__all__ = ["run_scenario"]
DOMAIN = uuid7_text()


def accepted_of(message: MessageEvents, stream: str = "transactional") -> MessageAccepted:
    event = message.accepted()
    event.context.domain_id = DOMAIN
    event.stream = stream
    return event


async def create(events: Running, tenant_id: str, **fields: Any) -> pb.Webhook:  # noqa: ANN401
    request = pb.CreateWebhookRequest(tenant_id=tenant_id, **fields)
    return (await events.call(events.stub.CreateWebhook, request)).webhook


async def update(events: Running, hook: pb.Webhook, **fields: Any) -> pb.Webhook:  # noqa: ANN401
    request = pb.UpdateWebhookRequest(tenant_id=hook.tenant_id, id=hook.id, **fields)
    return (await events.call(events.stub.UpdateWebhook, request)).webhook


def test_an_endpoint_receives_events_of_its_mail_only(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            order = MessageEvents(tags={"kind": "order"})
            news = MessageEvents(tags={"kind": "news"}, tenant_id=order.tenant_id)
            paths: dict[str, dict[str, Any]] = {
                "/orders": {"tags": ["kind:order"]}, "/news": {"streams": ["broadcast"]},
                "/domain": {"domain_ids": [DOMAIN]}, "/other": {"domain_ids": [uuid7_text()]},
            }  # fmt: skip
            for path, filters in paths.items():
                await create(events, order.tenant_id, url=receiver.url + path, **filters)
            await events.publish(accepted_of(order), accepted_of(news, "broadcast"))
            await until(lambda: len(receiver.received) == 4)
            # Nothing of these batches is in memory: the accepts are read before they are sent.
            await events.publish(order.closed(), news.closed())
            await until(lambda: len(receiver.received) == 8)
            expected = {"/orders": {order}, "/news": {news}, "/domain": {order, news}}
            for path, messages in expected.items():
                found = [one.json["data"]["message_id"] for one in receiver.at(path)]
                assert sorted(found) == sorted(one.message_id for one in messages for _ in "12")
            assert not receiver.at("/other")

    run_scenario.shared(scenario)


def test_an_event_whose_accept_comes_later_is_filtered_by_it(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            order, news = MessageEvents(tags={"kind": "order"}), MessageEvents()
            hook = await create(events, order.tenant_id, url=receiver.url, tags=["kind"])
            news = MessageEvents(tenant_id=order.tenant_id)
            await events.publish(order.closed(), news.closed())
            await events.wait_recorded(news, 1)
            await events.publish(accepted_of(order), accepted_of(news))
            await until(lambda: len(receiver.received) == 2)
            count = "SELECT count(*) FROM events.webhook_deliveries WHERE endpoint_id = %s"
            await until(lambda: events.rows(count, (hook.id,)) == [(2,)])
            assert {one.json["data"]["message_id"] for one in receiver.received} == {
                order.message_id
            }

    run_scenario.shared(scenario)


def test_a_recovery_has_the_filters_of_its_endpoint(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            order = MessageEvents(tags={"kind": "order"})
            news = MessageEvents(tenant_id=order.tenant_id)
            await events.publish(accepted_of(order), accepted_of(news), order.closed())
            for message, count in ((order, 2), (news, 1)):
                await events.wait_recorded(message, count)
            hook = await create(events, order.tenant_id, url=receiver.url, tags=["kind"])
            request = pb.RecoverWebhookRequest(tenant_id=order.tenant_id, id=hook.id)
            request.since.FromSeconds(order.context.accepted_at.seconds - 3600)
            await events.call(events.stub.RecoverWebhook, request)
            await until(lambda: len(receiver.received) == 2)
            assert {one.json["data"]["message_id"] for one in receiver.received} == {
                order.message_id
            }

    run_scenario.shared(scenario)


def test_requests_have_the_endpoints_own_fields_and_svix_names(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            message = MessageEvents()
            given = {"Authorization": "Bearer abc", "X-Team": "mail"}
            hook = await create(
                events, message.tenant_id, url=receiver.url, headers=given, svix_headers=True
            )
            assert dict(hook.headers) == given
            await events.publish(message.accepted())
            await until(lambda: len(receiver.received) == 1)
            [one] = receiver.received
            assert (one.headers["authorization"], one.headers["x-team"]) == ("Bearer abc", "mail")
            assert one.headers["svix-id"] == one.headers["webhook-id"]
            of_svix = {k: v for k, v in one.headers.items() if k.startswith("svix-")}
            SvixWebhook(hook.signing_secret).verify(one.body, of_svix)
            changed = await update(
                events, hook, headers=pb.WebhookHeaders(), svix_headers=False, tags=pb.Tags()
            )
            assert not changed.headers
            await events.call(
                events.stub.TestWebhook,
                pb.TestWebhookRequest(tenant_id=message.tenant_id, id=hook.id),
            )
            await until(lambda: len(receiver.received) == 2)
            assert not {"authorization", "x-team", "svix-id"} & receiver.received[1].headers.keys()
            with pytest.raises(RpcError, match="'Host' is reserved") as refused:
                await update(events, hook, headers=pb.WebhookHeaders(fields={"Host": "x"}))
            assert refused.value.field == "headers"

    run_scenario.shared(scenario)
