"""The account gets a mail when one of its webhooks is disabled."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from contracts.events.v1 import events_service_pb2 as pb
from contracts.ingest.v1.directory_pb2 import Account, Tenant
from kernel.ids import uuid7_text
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.events_process import environment_of, process_of
from tests.support.message_events import MessageEvents
from tests.support.receiver import Receiver, receiving, respond_with

__all__ = ["run_scenario"]
OWNER = "ops@customer.example"


async def publish_account(events: Running, billing_email: str) -> MessageEvents:
    """A message of a tenant of a new account."""
    message = MessageEvents(account_id=uuid7_text())
    account = Account(account_id=message.account_id, version=1, billing_email=billing_email)
    tenant = Tenant(tenant_id=message.tenant_id, version=1, account_id=message.account_id)
    await events.publish(account, tenant)
    return message


async def disable(events: Running, message: MessageEvents, url: str) -> pb.Webhook:
    """Have a webhook of the message's tenant disabled by its response."""
    request = pb.CreateWebhookRequest(tenant_id=message.tenant_id, url=url)
    made = (await events.call(events.stub.CreateWebhook, request)).webhook
    await events.publish(message.accepted())
    sql = "SELECT enabled FROM events.webhooks WHERE id = %s"
    await until(lambda: events.rows(sql, (made.id,)) == [(False,)])
    return made


def settings_of(receiver: Receiver) -> dict[str, Any]:
    return {
        "notice_from": "hooks@engine.example", "api_url": receiver.url + "/v1", "api_key": "key_1",
    }  # fmt: skip


def pending(events: Running, hook: pb.Webhook) -> bool:
    sql = "SELECT notice_due_at IS NOT NULL FROM events.webhooks WHERE id = %s"
    return bool(events.rows(sql, (hook.id,))[0][0])


def test_the_account_gets_one_mail_about_a_disabled_webhook(run_scenario: ScenarioRunner) -> None:
    async def main() -> None:
        async with receiving() as receiver:
            receiver.behaviors["/gone"] = respond_with(410)
            async with run_scenario.service(**settings_of(receiver)) as events:
                message = await publish_account(events, OWNER)
                hook = await disable(events, message, receiver.url + "/gone?token=secret")
                await until(lambda: not pending(events, hook))
                [mail] = receiver.at("/v1/emails")
                assert mail.headers["authorization"] == "Bearer key_1"
                assert mail.headers["idempotency-key"].startswith(f"webhook-disabled {hook.id} ")
                assert (mail.json["to"], mail.json["from"]) == (OWNER, "hooks@engine.example")
                assert "it responded with 410 Gone" in mail.json["text"]
                assert "secret" not in mail.json["text"]
                # Enabled and disabled again within a day: no more mail.
                update = pb.UpdateWebhookRequest(
                    tenant_id=message.tenant_id, id=hook.id, enabled=True
                )
                await events.call(events.stub.UpdateWebhook, update)
                await events.publish(message.closed())
                sql = "SELECT enabled FROM events.webhooks WHERE id = %s"
                await until(lambda: events.rows(sql, (hook.id,)) == [(False,)])
                assert not pending(events, hook)

    run_scenario.run(main())


def test_an_account_without_an_address_gets_none(run_scenario: ScenarioRunner) -> None:
    async def main() -> None:
        async with receiving() as receiver:
            receiver.behaviors["/gone"] = respond_with(410)
            async with run_scenario.service(**settings_of(receiver)) as events:
                message = await publish_account(events, "")
                hook = await disable(events, message, receiver.url + "/gone")
                await until(lambda: not pending(events, hook))
                assert not receiver.at("/v1/emails")

    run_scenario.run(main())


def test_without_a_sender_no_mail_is_due(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            receiver.behaviors["/gone"] = respond_with(410)
            message = await publish_account(events, OWNER)
            assert not pending(events, await disable(events, message, receiver.url + "/gone"))

    run_scenario(scenario)


@pytest.mark.parametrize("status", [202, 503])
def test_a_mail_is_repeated_with_the_same_key_until_the_api_has_it(
    run_scenario: ScenarioRunner, tmp_path: Path, status: int
) -> None:
    """A process dies after it was sent, or after the API has refused it."""

    async def main() -> None:
        async with receiving() as receiver:
            statuses = [status, 202]

            async def respond(_: web.Request) -> web.Response:
                return web.Response(status=statuses.pop(0))

            receiver.behaviors["/v1/emails"] = respond
            receiver.behaviors["/gone"] = respond_with(410)
            environment = environment_of(run_scenario) | {
                "EVENTS_NOTICE_FROM": "hooks@engine.example", "EVENTS_API_KEY": "key_1",
                "EVENTS_API_URL": receiver.url + "/v1",
            }  # fmt: skip
            due = "UPDATE events.webhooks SET notice_due_at = now() WHERE id = %s RETURNING 1"
            async with run_scenario.service() as events:
                message = await publish_account(events, OWNER)
                hook = await disable(events, message, receiver.url + "/gone")
                events.rows(due, (hook.id,))
                failpoint = "events.webhook.noticed=kill"
                with process_of(environment, tmp_path, OBM_FAILPOINTS=failpoint) as process:
                    await until(lambda: not process.running)
                assert pending(events, hook)
                events.rows(due, (hook.id,))
                with process_of(environment, tmp_path):
                    await until(lambda: not pending(events, hook))
            first, second = receiver.at("/v1/emails")
            assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
            assert first.body == second.body

    run_scenario.run(main())
