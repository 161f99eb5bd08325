"""Lists of a whole account, on real Kafka and PostgreSQL: all of its tenants, and nobody else's."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook as Verifier

from contracts.events.v1 import events_service_pb2 as pb
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.events_pb2 import CLOSED_STATE_BOUNCED
from kernel.database import Database
from kernel.rpc import RpcError
from services.events.loops.account_backfill import AccountBackfill
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.message_events import REFUSED, MessageEvents
from tests.support.receiver import receiving

__all__ = ["run_scenario"]


class Account:
    """An account with two tenants, which the service knows. send: the events of a message."""

    def __init__(self, events: Running) -> None:
        self.id = str(uuid4())
        self.events = events
        self.tenants = sorted(str(uuid4()) for _ in "ab")

    async def publish(self) -> "Account":
        records = [Tenant(tenant_id=one, version=1, account_id=self.id) for one in self.tenants]
        await self.events.publish(*records)
        known = "SELECT count(*) FROM events.tenant_accounts WHERE account_id = %s"
        await until(lambda: self.events.rows(known, (self.id,)) == [(2,)])
        return self

    async def send(
        self, tenant: int, *, test: bool = False, bounced: bool = False,
        to: str = "ann@example.net", tags: dict[str, str] | None = None,
    ) -> str:  # fmt: skip
        message = MessageEvents(
            to, tenant_id=self.tenants[tenant], account_id=self.id, tags=tags or {}
        )
        message.context.test = test
        events = message.delivered()
        if bounced:
            events[-2:] = [
                message.attempted(reply=REFUSED),
                message.closed(CLOSED_STATE_BOUNCED, reply=REFUSED),
            ]
        await self.events.publish(*events)
        await self.events.wait_recorded(message, 5)
        return message.email_id

    async def list(self, **fields: Any) -> pb.ListEmailsResponse:  # noqa: ANN401 - a protobuf's
        request = pb.ListEmailsRequest(account_id=self.id, **fields)
        return await self.events.call(self.events.stub.ListEmails, request)

    async def create_webhook(self, tenant: int, url: str = "https://x.example/") -> pb.Webhook:
        request = pb.CreateWebhookRequest(tenant_id=self.tenants[tenant], url=url)
        return (await self.events.call(self.events.stub.CreateWebhook, request)).webhook


def ids(response: pb.ListEmailsResponse) -> list[str]:
    return [one.id for one in response.emails]


def test_an_account_lists_the_emails_of_all_its_tenants(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine, other = await Account(events).publish(), await Account(events).publish()
        sent = [await mine.send(n % 2, bounced=n == 2, test=n == 3) for n in range(5)]
        foreign = await other.send(0)

        found = await mine.list()
        assert ids(found) == sent[::-1]
        assert [one.tenant_id for one in found.emails] == [mine.tenants[n] for n in (0, 1, 0, 1, 0)]
        assert {one.subject for one in found.emails} == {"Your order"}
        assert ids(await mine.list(status="bounced")) == [sent[2]]
        assert ids(await mine.list(test_only=True)) == [sent[3]]
        assert ids(await other.list()) == [foreign]

        first = await mine.list(limit=2)
        second = await mine.list(limit=2, after=first.emails[-1].id)
        assert (ids(first), ids(second)) == (sent[:2:-1], sent[2:0:-1])
        assert (first.has_more, second.has_more) == (True, True)
        assert ids(await mine.list(limit=2, before=sent[1])) == [sent[3], sent[2]]
        assert ids(await mine.list(after=foreign)) == sent[::-1]
        with pytest.raises(RpcError, match="name a tenant"):
            await mine.list(id=sent[0])

    run_scenario.shared(scenario)


def test_an_account_filters_the_emails_of_all_its_tenants(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine, other = await Account(events).publish(), await Account(events).publish()
        tags = {"kind": "order"}
        sent = [
            await mine.send(0, to="ann@example.net", tags=tags),
            await mine.send(1, to="bob@example.net", bounced=True),
            await mine.send(1, to="Ann@example.net", tags=tags, bounced=True),
            await mine.send(0, to="ann@example.org", test=True),
        ]
        for tenant in range(2):
            await other.send(tenant, to="ann@example.net", tags=tags)

        assert ids(await mine.list(to="ann@example.net")) == [sent[2], sent[0]]
        assert ids(await mine.list(domain="example.net")) == sent[2::-1]
        assert ids(await mine.list(tag="kind:order")) == ids(await mine.list(tag="kind"))
        assert ids(await mine.list(tag="kind", status="bounced")) == [sent[2]]
        assert ids(await mine.list(domain="example.net", tag="kind")) == [sent[2], sent[0]]
        assert ids(await mine.list(domain="example.org", test_only=True)) == [sent[3]]
        assert ids(await mine.list(domain="example.net", test_only=True)) == []
        first = await mine.list(domain="example.net", limit=2)
        then = await mine.list(domain="example.net", limit=2, after=first.emails[-1].id)
        assert (first.has_more, ids(then), then.has_more) == (True, [sent[0]], False)
        newer = await mine.list(domain="example.net", limit=1, before=sent[0])
        assert (ids(newer), newer.has_more) == ([sent[1]], True)

    run_scenario.shared(scenario)


def test_a_message_whose_attempt_comes_before_its_accept_is_found_by_its_account(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        mine = await Account(events).publish()
        message = MessageEvents(tenant_id=mine.tenants[0], account_id=mine.id)
        accepted, *others = message.delivered()
        await events.publish(*others)
        await events.wait_recorded(message, 4)
        await events.publish(accepted)
        await events.wait_recorded(message, 5)
        assert ids(await mine.list(to=message.recipient)) == [message.email_id]

    run_scenario.shared(scenario)


def test_emails_of_an_earlier_version_get_their_account(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = await Account(events).publish()
        sent = [await mine.send(n % 2, tags={"kind": "order"}) for n in range(3)]
        unknown = MessageEvents()  # of a tenant that is not in the directory
        await events.publish(*unknown.delivered())
        await events.wait_recorded(unknown, 5)
        with events.database.connect() as owner:
            for table in ("emails", "state", "tags"):
                forget = f"UPDATE events.{table} SET account_id = NULL WHERE email_id = ANY(%s)"
                owner.execute(forget.encode(), (sent,))
        filters: list[dict[str, str]] = [{}, {"domain": "example.net"}, {"tag": "kind"}]
        for one in filters:
            assert ids(await mine.list(**one)) == []

        database = Database(events.database.system("events"))
        await AccountBackfill(database).run_once()
        await database.close()
        for one in filters:
            assert ids(await mine.list(**one)) == sent[::-1]

    run_scenario.shared(scenario)


def test_an_account_uses_the_webhooks_of_all_its_tenants(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine, other = await Account(events).publish(), await Account(events).publish()
        hooks = [await mine.create_webhook(n % 2) for n in range(3)]
        foreign = await other.create_webhook(0)

        async def page(**fields: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - a protobuf's
            request = pb.ListWebhooksRequest(account_id=mine.id, **fields)
            found = await events.call(events.stub.ListWebhooks, request)
            return [(one.id, one.tenant_id) for one in found.webhooks]

        own = [(one.id, one.tenant_id) for one in hooks]
        assert await page() == own[::-1]
        assert await page(limit=1) == [own[2]]
        assert await page(after=hooks[1].id) == [own[0]]
        assert await page(before=hooks[0].id, limit=1) == [own[1]]

        for request, method in by_id(events):
            one = request(account_id=mine.id, id=hooks[0].id)
            await events.call(method, one)
            for owner in ({"account_id": mine.id}, {"tenant_id": mine.tenants[0]}):
                with pytest.raises(RpcError, match="webhook not found"):
                    await events.call(method, request(**owner, id=foreign.id))
        assert await page() == own[:0:-1]

    run_scenario.shared(scenario)


def by_id(events: Running) -> list[tuple[Any, Callable[..., Awaitable[Any]]]]:
    """Every request with the id of a webhook; the last one deletes it."""
    stub = events.stub
    return [
        (pb.GetWebhookRequest, stub.GetWebhook),
        (pb.UpdateWebhookRequest, stub.UpdateWebhook),
        (pb.TestWebhookRequest, stub.TestWebhook),
        (pb.ListWebhookEventsRequest, stub.ListWebhookEvents),
        (pb.DeleteWebhookRequest, stub.DeleteWebhook),
    ]


def test_a_webhook_is_changed_disabled_and_enabled(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = await Account(events).publish()
        async with receiving() as receiver:
            hook = await mine.create_webhook(0, receiver.url)

            async def update(**fields: Any) -> pb.Webhook:  # noqa: ANN401 - a protobuf's
                request = pb.UpdateWebhookRequest(account_id=mine.id, id=hook.id, **fields)
                return (await events.call(events.stub.UpdateWebhook, request)).webhook

            types = pb.EventTypes(names=["email.delivered"])
            changed = await update(event_types=types, url=receiver.url + "/new")
            assert (changed.url, list(changed.event_types), changed.enabled) == (
                receiver.url + "/new", ["email.delivered"], True,
            )  # fmt: skip
            assert not (await update(enabled=False)).enabled
            await mine.send(0)
            kept = await update(enabled=True)
            assert (kept.url, list(kept.event_types)) == (changed.url, ["email.delivered"])
            await mine.send(0)
            await until(lambda: len(receiver.received) == 1)
            [got] = receiver.received
            assert json.loads(got.body)["type"] == "email.delivered"
            Verifier(hook.signing_secret).verify(got.body, got.headers)
            with pytest.raises(RpcError, match="not an event type"):
                await update(event_types=pb.EventTypes(names=["email.eaten"]))
            with pytest.raises(RpcError, match="endpoint"):
                await update(url="http://192.0.2.1/")

    run_scenario.shared(scenario)


def test_an_account_changes_the_webhook_of_a_tenant_that_is_new_here(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        new, other = Account(events), await Account(events).publish()
        request = pb.CreateWebhookRequest(
            tenant_id=new.tenants[0], account_id=new.id, url="https://x.example/"
        )
        made = (await events.call(events.stub.CreateWebhook, request)).webhook
        listed = pb.ListWebhooksRequest(account_id=new.id)
        assert [
            one.id for one in (await events.call(events.stub.ListWebhooks, listed)).webhooks
        ] == [made.id]
        change = pb.UpdateWebhookRequest(id=made.id, enabled=False)
        change.account_id = other.id
        with pytest.raises(RpcError, match="not found"):
            await events.call(events.stub.UpdateWebhook, change)
        change.account_id = new.id
        changed = (await events.call(events.stub.UpdateWebhook, change)).webhook
        assert not changed.enabled
        # A tenant that is known stays its account's, whatever a request says.
        request = pb.CreateWebhookRequest(
            tenant_id=other.tenants[0], account_id=new.id, url="https://y.example/"
        )
        await events.call(events.stub.CreateWebhook, request)
        assert len((await events.call(events.stub.ListWebhooks, listed)).webhooks) == 1

    run_scenario.shared(scenario)


def test_the_tenant_role_sees_an_account_without_any_condition(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        mine, other = await Account(events).publish(), await Account(events).publish()
        for one in (mine, other):
            await one.send(0)
            await one.create_webhook(1)
        database = Database(events.database.tenant("events"))
        for table in ("emails", "log", "webhooks", "tenant_accounts"):
            column = "owner_id" if table == "webhooks" else "tenant_id"
            query = f"SELECT DISTINCT {column}::text FROM events.{table}"
            async with database.transaction(account_id=mine.id) as tx:
                seen = {tenant for (tenant,) in await tx.rows(query)}
            assert seen
            assert seen <= set(mine.tenants)
            async with database.transaction(account_id=str(uuid4())) as tx:
                assert await tx.rows(query) == []
            async with database.transaction() as tx:
                assert await tx.rows(query) == []
        await database.close()

    run_scenario.shared(scenario)
