"""Recoveries: what a webhook has missed, or did not accept, is sent once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.events.v1 import events_service_pb2 as pb
from contracts.events.v1.events_service_pb2_grpc import EventsServiceStub
from kernel.ids import uuid7_text
from kernel.rpc import RpcClient, RpcError
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.events_process import environment_of, peer_of, process_of
from tests.support.message_events import MessageEvents, stamp
from tests.support.receiver import Receiver, receiving, respond_with

__all__ = ["run_scenario"]
HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


class Recovering:
    """A webhook, and its recoveries. owner: tenant_id or account_id."""

    def __init__(self, peer: RpcClient, **owner: str) -> None:
        self._owner: dict[str, Any] = owner
        self.id = ""
        self.use(peer)

    def use(self, peer: RpcClient) -> None:
        self._peer, self._stub = peer, EventsServiceStub(peer.channel)

    async def call(self, name: str, **fields: Any) -> Any:  # noqa: ANN401 - its response
        named = {"id": self.id} if self.id else {}
        request = getattr(pb, f"{name}Request")(**self._owner, **named, **fields)
        return await self._peer.call(getattr(self._stub, name), request, deadline_s=60)

    async def create(self, url: str, **fields: Any) -> None:  # noqa: ANN401
        self.id = (await self.call("CreateWebhook", url=url, **fields)).webhook.id

    async def recover(self, **fields: Any) -> pb.WebhookRecovery:  # noqa: ANN401
        given = {"since": stamp(HOUR_AGO), **fields}
        recovery: pb.WebhookRecovery = (await self.call("RecoverWebhook", **given)).recovery
        return recovery

    async def finished(self) -> pb.WebhookRecovery:
        async def find() -> pb.WebhookRecovery | None:
            found: pb.WebhookRecovery = (await self.call("GetWebhookRecovery")).recovery
            return found if found.HasField("finished_at") else None

        return await until(find)


def ids(receiver: Receiver) -> list[str]:
    return [one.headers["webhook-id"] for one in receiver.received]


def statuses(events: Running, hook: Recovering) -> set[tuple[Any, ...]]:
    """State and number of attempts of each delivery."""
    sql = (
        "SELECT state, cardinality(attempts) FROM events.webhook_deliveries WHERE endpoint_id = %s"
    )
    return set(events.rows(sql, (hook.id,)))


def test_what_was_missed_or_failed_is_sent_and_nothing_twice(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            # One is delivered, one fails, one waits for the webhook while it is disabled.
            receiver.behaviors["/"] = respond_with(200, 500, 500, 200)
            tenant = MessageEvents()
            hook = Recovering(events.peer, tenant_id=tenant.tenant_id)
            await hook.create(
                receiver.url + "/", event_types=["email.delivered", "email.complained"]
            )
            some = [MessageEvents(tenant_id=tenant.tenant_id) for _ in range(3)]
            delivered, failed, missed = some
            await events.publish(*delivered.delivered())
            await until(lambda: statuses(events, hook) == {(1, 1)})
            await events.publish(*failed.delivered())
            await until(lambda: statuses(events, hook) == {(1, 1), (2, 2)})
            await hook.call("UpdateWebhook", enabled=False)
            await events.publish(*missed.delivered(), missed.complained())
            await events.wait_recorded(missed, 6)
            with pytest.raises(RpcError, match="the webhook is disabled"):
                await hook.recover()
            await hook.call("UpdateWebhook", enabled=True)
            started = await hook.recover(types=["email.delivered"])
            assert not started.HasField("finished_at")
            with pytest.raises(RpcError, match="a recovery of the webhook is in progress"):
                await hook.recover()
            assert (await hook.finished()).recovered == 2
            await until(lambda: statuses(events, hook) == {(1, 1), (1, 3)})
            assert len(receiver.received) == 5
            assert len(set(ids(receiver))) == 3
            await hook.recover()
            assert (await hook.finished()).recovered == 1
            await until(lambda: len(receiver.received) == 6)
            assert receiver.received[-1].json["type"] == "email.complained"

    run_scenario(scenario, webhook_retry_schedule_s=[0, 0.05], webhook_concurrency=1)


def test_a_new_webhook_of_an_account_gets_what_happened_before_it(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            account_id = uuid7_text()
            mine = [MessageEvents(account_id=account_id) for _ in range(3)]
            other = MessageEvents(account_id=uuid7_text())
            await events.publish(*[event for one in (*mine, other) for event in one.delivered()])
            for one in (*mine, other):
                await events.wait_recorded(one, 5)
            hook = Recovering(events.peer, account_id=account_id)
            await hook.create(
                receiver.url, tenant_ids=[mine[0].tenant_id, mine[1].tenant_id, other.tenant_id]
            )
            await hook.recover()
            assert (await hook.finished()).recovered == 4
            await until(lambda: len(receiver.received) == 4)
            tenants = {one.json["tenant_id"] for one in receiver.received}
            assert tenants == {mine[0].tenant_id, mine[1].tenant_id}
            assert {one.json["data"]["subject"] for one in receiver.received} == {"Your order"}

    run_scenario.shared(scenario)


def test_only_a_time_that_was_can_be_recovered(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        hook = Recovering(events.peer, tenant_id=MessageEvents().tenant_id)
        await hook.create("http://127.0.0.1:1/")
        with pytest.raises(RpcError, match="recovery of the webhook not found"):
            await hook.call("GetWebhookRecovery")
        tomorrow = stamp(datetime.now(UTC) + timedelta(days=1))
        for fields, wrong in (
            ({"since": tomorrow}, "since"),
            ({"until": tomorrow}, "until"),
            ({"types": ["email.lost"]}, "types"),
        ):
            with pytest.raises(RpcError) as refused:
                await hook.recover(**fields)
            assert refused.value.field == wrong

    run_scenario.shared(scenario)


@pytest.mark.parametrize(
    "failpoint", ["events.webhook.recovering=kill@2", "events.webhook.recovered=kill@1"]
)
def test_a_process_that_dies_in_a_recovery_loses_nothing_and_queues_nothing_twice(
    run_scenario: ScenarioRunner, tmp_path: Path, failpoint: str
) -> None:
    """Two pages and a half: the process dies in the second one, or between the first two."""
    tenant = MessageEvents()
    messages = [MessageEvents(tenant_id=tenant.tenant_id) for _ in range(120)]

    async def publish(events: Running) -> None:
        await events.publish(*(one.accepted() for one in messages))
        for one in messages:
            await events.wait_recorded(one, 1)

    async def recover() -> str:
        environment = environment_of(run_scenario) | {
            "EVENTS_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "EVENTS_WEBHOOK_LEASE_S": "21",
            "EVENTS_WEBHOOK_TIMEOUT_S": "1",
        }
        async with receiving() as receiver:
            with process_of(environment, tmp_path, OBM_FAILPOINTS=failpoint) as process:
                async with peer_of(process) as peer:
                    hook = Recovering(peer, tenant_id=tenant.tenant_id)
                    await hook.create(receiver.url)
                    await hook.recover()
                    await until(lambda: not process.running)
            with process_of(environment, tmp_path) as process:
                async with peer_of(process) as peer:
                    hook.use(peer)
                    assert (await hook.finished()).recovered == len(messages)
                await until(lambda: len(set(ids(receiver))) == len(messages))
        return hook.id

    run_scenario(publish)
    webhook_id = run_scenario.run(recover())
    with run_scenario.database.connect() as connection:
        sql = "SELECT count(*) FROM events.webhook_deliveries WHERE endpoint_id = %s"
        [(count,)] = connection.execute(sql, (webhook_id,)).fetchall()
    assert count == len(messages)
