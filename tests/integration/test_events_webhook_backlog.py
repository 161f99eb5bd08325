"""How long webhooks have been due that nobody has claimed."""

import asyncio

import pytest
from aiohttp import web

from contracts.events.v1.events_service_pb2 import CreateWebhookRequest
from kernel import metrics
from services.events import app
from services.events.loops.endpoint_queue import QUEUE_MAX
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.message_events import MessageEvents
from tests.support.receiver import receiving

__all__ = ["run_scenario"]


def test_what_waits_for_a_slow_endpoint_is_measured_until_it_is_delivered(
    run_scenario: ScenarioRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "BACKLOG_INTERVAL_S", 0.1)

    def age_s() -> float:
        return metrics.registry.get_sample_value("obm_webhook_backlog_age_seconds") or 0.0

    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            goes_on = asyncio.Event()

            async def wait(_: web.Request) -> web.Response:
                await goes_on.wait()
                return web.Response()

            receiver.behaviors["/slow"] = wait
            slow = MessageEvents()
            request = CreateWebhookRequest(
                tenant_id=slow.tenant_id,
                url=receiver.url + "/slow",
                event_types=["email.delivered"],
            )
            await events.call(events.stub.CreateWebhook, request)
            published, more = 0, QUEUE_MAX
            while age_s() < 1:  # batches in progress at once may claim more than the queue admits
                messages = [MessageEvents(tenant_id=slow.tenant_id) for _ in range(more)]
                await events.publish(*(event for one in messages for event in one.delivered()))
                published, more = published + more, 50
                await asyncio.sleep(1)
            goes_on.set()
            await until(lambda: len(receiver.at("/slow")) == published)
            await until(lambda: age_s() == 0)

    run_scenario(scenario, webhook_concurrency=1, webhook_timeout_s=600.0, webhook_lease_s=900.0)
