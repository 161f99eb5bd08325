"""Webhook endpoints of accounts, on real Kafka and PostgreSQL: the events of all its tenants, and
nobody else's."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook as Verifier

from contracts.events.v1 import events_service_pb2 as pb
from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.events_pb2 import SuppressionChanged
from kernel.ids import uuid7_text
from kernel.rpc import RpcError
from services.events.api.webhooks import ENDPOINTS_MAX
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.message_events import MessageEvents
from tests.support.receiver import Receiver, receiving

__all__ = ["run_scenario"]


class Account:
    """An account with two tenants, of which events knows the first. send: the events of a
    message."""

    def __init__(self, events: Running) -> None:
        self.id = str(uuid4())
        self.events = events
        self.tenants = [str(uuid4()) for _ in "ab"]

    async def publish(self) -> "Account":
        known = Tenant(tenant_id=self.tenants[0], version=1, account_id=self.id)
        await self.events.publish(known)
        rows = "SELECT FROM events.tenant_accounts WHERE account_id = %s"
        await until(lambda: len(self.events.rows(rows, (self.id,))) == 1)
        return self

    async def create(self, url: str, *, tenant: str = "", **fields: Any) -> pb.Webhook:  # noqa: ANN401 - a protobuf's
        """Of the account, unless it is of a tenant."""
        request = pb.CreateWebhookRequest(tenant_id=tenant, account_id=self.id, url=url, **fields)
        return (await self.events.call(self.events.stub.CreateWebhook, request)).webhook

    async def send(self, tenant: int) -> None:
        message = MessageEvents(tenant_id=self.tenants[tenant], account_id=self.id)
        *before, closed = message.delivered()
        await self.events.publish(*before)
        await self.events.wait_recorded(message, 4)  # topics are read beside each other
        await self.events.publish(closed)
        await self.events.wait_recorded(message, 5)

    async def suppress(self) -> str:
        """For all tenants. Returns the id."""
        suppression = uuid7_text()
        await self.events.publish(
            SuppressionChanged(
                suppression_id=suppression, change="added", account_id=self.id,
                address="ann@example.net", origin="manual",
            )
        )  # fmt: skip
        return suppression


def arrived(receiver: Receiver, path: str) -> set[tuple[str, str | None]]:
    """The types that came to a path, each with its tenant."""
    return {(one.json["type"], one.json["tenant_id"]) for one in receiver.at(path)}


def test_an_endpoint_of_an_account_receives_the_events_of_all_its_tenants_and_its_own(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        mine, other = await Account(events).publish(), await Account(events).publish()
        first, second = mine.tenants
        async with receiving() as receiver:
            hook = await mine.create(receiver.url + "/all")
            assert (hook.tenant_id, list(hook.tenant_ids)) == ("", [])
            await mine.create(receiver.url + "/second", tenant_ids=[second])
            await mine.create(receiver.url + "/few", event_types=["suppression.added"])
            await mine.create(receiver.url + "/tenant", tenant=first)
            await other.create(receiver.url + "/other")
            await mine.send(0)
            await mine.send(1)  # a tenant whose record has not arrived
            await mine.suppress()
            await other.suppress()
            sent = {("email.sent", one) for one in mine.tenants}
            sent |= {("email.delivered", one) for one in mine.tenants}
            await until(lambda: len(receiver.received) == 5 + 2 + 1 + 2 + 1)
            assert arrived(receiver, "/all") == {*sent, ("suppression.added", None)}
            assert arrived(receiver, "/second") == {one for one in sent if one[1] == second}
            assert arrived(receiver, "/few") == {("suppression.added", None)}
            assert arrived(receiver, "/tenant") == {one for one in sent if one[1] == first}
            assert arrived(receiver, "/other") == {("suppression.added", None)}
            verifier = Verifier(hook.signing_secret)
            for one in receiver.at("/all"):
                verifier.verify(one.body, one.headers)
            ids = [one.headers["webhook-id"] for one in receiver.at("/all")]
            assert len(set(ids)) == 5

    run_scenario.shared(scenario)


def test_an_endpoint_of_an_account_receives_events_of_tenants_that_the_database_does_not_know(
    run_scenario: ScenarioRunner,
) -> None:
    """Those which are read before the accept of their message, as after a pause: the directory
    tells the account."""

    async def scenario(events: Running) -> None:
        mine = await Account(events).publish()
        hook = await mine.create("http://127.0.0.1:9/")

        async def is_delivered() -> bool:
            with events.database.connect() as owner:
                forget = b"DELETE FROM events.tenant_accounts WHERE account_id = %s"
                owner.execute(forget, (mine.id,))
            message = MessageEvents(tenant_id=mine.tenants[0])
            await events.publish(message.closed())
            await events.wait_recorded(message, 1)
            rows = "SELECT FROM events.webhook_deliveries WHERE endpoint_id = %s"
            return bool(events.rows(rows, (hook.id,)))

        await until(is_delivered, within_s=60)

    run_scenario.shared(scenario)


def test_an_endpoint_of_an_account_is_tested_and_its_deliveries_are_the_accounts(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        mine, other = await Account(events).publish(), await Account(events).publish()
        stub = events.stub
        async with receiving() as receiver:
            hook = await mine.create(receiver.url)
            own = await mine.create(receiver.url + "/tenant", tenant=mine.tenants[0])
            wanted: dict[str, Any] = {"account_id": mine.id, "id": hook.id}
            made = await events.call(stub.TestWebhook, pb.TestWebhookRequest(**wanted))
            await until(lambda: len(receiver.received) == 1)
            assert receiver.received[0].json["type"] == "webhook.test"
            assert receiver.received[0].json["tenant_id"] is None
            listed = await events.call(
                stub.ListWebhookEvents, pb.ListWebhookEventsRequest(**wanted)
            )
            assert [one.id for one in listed.events] == [made.event_id]
            page = await events.call(stub.ListWebhooks, pb.ListWebhooksRequest(account_id=mine.id))
            assert {one.id for one in page.webhooks} == {hook.id, own.id}
            for tenant in (mine.tenants[0], other.tenants[0]):
                request = pb.ListWebhooksRequest(tenant_id=tenant)
                found = await events.call(stub.ListWebhooks, request)
                assert hook.id not in {one.id for one in found.webhooks}
            for owner in (
                {"account_id": other.id}, {"tenant_id": mine.tenants[0]},
                {"tenant_id": other.tenants[0]},
            ):  # fmt: skip
                for rpc in (
                    "GetWebhook", "UpdateWebhook", "TestWebhook", "ListWebhookEvents",
                    "DeleteWebhook",
                ):  # fmt: skip
                    foreign = getattr(pb, f"{rpc}Request")(**owner, id=hook.id)
                    with pytest.raises(RpcError, match="webhook not found"):
                        await events.call(getattr(stub, rpc), foreign)
            await events.call(stub.DeleteWebhook, pb.DeleteWebhookRequest(**wanted))
            with pytest.raises(RpcError, match="webhook not found"):
                await events.call(stub.GetWebhook, pb.GetWebhookRequest(**wanted))

    run_scenario.shared(scenario)


def test_an_endpoint_of_an_account_is_changed(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = await Account(events).publish()
        async with receiving() as receiver:
            hook = await mine.create(receiver.url)
            own = await mine.create(receiver.url, tenant=mine.tenants[0])

            async def update(webhook: pb.Webhook, **fields: Any) -> pb.Webhook:  # noqa: ANN401 - a protobuf's
                request = pb.UpdateWebhookRequest(account_id=mine.id, id=webhook.id, **fields)
                return (await events.call(events.stub.UpdateWebhook, request)).webhook

            second = pb.TenantIds(ids=[mine.tenants[1]])
            assert list((await update(hook, tenant_ids=second)).tenant_ids) == second.ids
            kept = await update(hook, url=receiver.url + "/new")
            assert list(kept.tenant_ids) == second.ids
            await mine.send(0)
            await mine.send(1)
            await until(lambda: len(receiver.at("/new")) == 2)
            assert {tenant for _, tenant in arrived(receiver, "/new")} == {mine.tenants[1]}
            assert not (await update(hook, tenant_ids=pb.TenantIds())).tenant_ids
            with pytest.raises(RpcError, match="only a webhook of an account has tenant_ids"):
                await update(own, tenant_ids=second)
            with pytest.raises(RpcError, match="only a webhook of an account has tenant_ids"):
                await mine.create(receiver.url, tenant=mine.tenants[0], tenant_ids=second.ids)

    run_scenario.shared(scenario)


def test_an_account_hears_that_an_endpoint_of_a_tenant_was_disabled(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        mine = await Account(events).publish()
        async with receiving() as receiver:
            hook = await mine.create(receiver.url + "/all")
            await mine.create(receiver.url + "/tenant", tenant=mine.tenants[0])
            for owner in (mine.tenants[0], mine.id):
                event = WebhookDisabled(
                    endpoint_id=str(uuid4()), disabled_at_ms=1, tenant_id=owner, reason="gone"
                )
                await events.publish(event)
            own = WebhookDisabled(
                endpoint_id=hook.id, disabled_at_ms=1, tenant_id=mine.id, reason="gone"
            )
            await events.publish(own)  # nobody hears of his own end
            await mine.suppress()
            await until(lambda: len(receiver.received) == 4)
            assert arrived(receiver, "/tenant") == {("webhook.disabled", mine.tenants[0])}
            assert arrived(receiver, "/all") == {
                ("webhook.disabled", mine.tenants[0]), ("webhook.disabled", None),
                ("suppression.added", None),
            }  # fmt: skip

    run_scenario.shared(scenario)


def test_the_endpoints_of_an_account_are_bounded_beside_those_of_its_tenants(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        mine = await Account(events).publish()
        creating = (mine.create("https://x.example/") for _ in range(ENDPOINTS_MAX + 10))
        created = await asyncio.gather(*creating, return_exceptions=True)
        assert sum(not isinstance(one, Exception) for one in created) == ENDPOINTS_MAX
        with pytest.raises(RpcError, match="the account has the maximum of 50 webhooks"):
            await mine.create("https://x.example/")
        await mine.create("https://x.example/", tenant=mine.tenants[0])

    run_scenario.shared(scenario)
