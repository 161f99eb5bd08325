"""A recipient is erased from the log on real Kafka and PostgreSQL; figures stay."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1 import events_service_pb2 as pb
from contracts.events.v1.events_service_pb2 import (
    EraseMessagesRequest,
    EraseSuppressionEventsRequest,
    EventFilter,
    GetMetricsRequest,
    ListEventsRequest,
    ListRecipientMessagesRequest,
    RecipientMessage,
)
from contracts.router.v1.events_pb2 import SuppressionChanged
from kernel.database import Database
from kernel.ids import uuid7_text
from kernel.redaction import ERASED
from kernel.rpc import RpcError
from services.events.store import erasure
from services.events.store.figures.recount import recount_day
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.message_events import MessageEvents
from tests.support.receiver import receiving
from tests.support.traces import tables_with

__all__ = ["run_scenario"]

ANN = "Ann@example.net"


def now() -> Timestamp:
    found = Timestamp()
    found.FromDatetime(datetime.now(UTC) + timedelta(minutes=1))
    return found


async def messages_to(events: Running, address: str, **owner: str) -> Sequence[RecipientMessage]:
    request = ListRecipientMessagesRequest(**owner, address=address, until=now())  # type: ignore[arg-type]
    return (await events.call(events.stub.ListRecipientMessages, request)).messages


async def erase(events: Running, found: Sequence[RecipientMessage], address: str = ANN) -> None:
    request = EraseMessagesRequest(messages=found, address=address)
    await events.call(events.stub.EraseMessages, request)


async def totals(events: Running, tenant_id: str) -> list[float]:
    await until(lambda: not events.rows("SELECT FROM events.stats_deltas LIMIT 1"))
    request = GetMetricsRequest(tenant_id=tenant_id, metrics=["accepted", "sent", "delivered"])
    return list((await events.call(events.stub.GetMetrics, request)).totals)


def test_figures_stay_when_a_recipient_is_erased_and_all_is_published_again(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        tenant = str(uuid4())
        ann = MessageEvents(ANN, tenant_id=tenant)
        bob = MessageEvents("bob@example.net", tenant_id=tenant, email_id=ann.email_id)
        whole = [*ann.delivered(), ann.complained(), *bob.delivered()]
        await events.publish(*whole[:-1])
        await events.wait_recorded(ann, 6)
        await events.wait_recorded(bob, 4)
        before = await totals(events, tenant)
        found = await messages_to(events, ANN.lower(), tenant_id=tenant)
        assert [one.message_id for one in found] == [ann.message_id]
        await erase(events, found)
        await erase(events, found)  # as after a crash
        assert tables_with(events.database, ANN) == set()
        assert not await messages_to(events, ANN, tenant_id=tenant)
        await events.publish(*whole, ann.bounced_late())
        await events.wait_recorded(ann, 7)
        await events.wait_recorded(bob, 5)
        assert tables_with(events.database, ANN) == set()
        assert before == [2, 2, 1]
        assert await totals(events, tenant) == [2, 2, 2]
        request = ListEventsRequest(tenant_id=tenant, filter=EventFilter(to=ERASED))
        listed = (await events.call(events.stub.ListEvents, request)).events
        assert [one.type for one in listed][:2] == ["email.bounced", "email.complained"]
        assert {one.recipient for one in listed} == {ERASED}
        database = Database(events.database.system("events"), connections_max=1, name="test")
        try:
            counted = await recount_day(database, datetime.now(UTC).date())
        finally:
            await database.close()
        assert counted.differences == []

    run_scenario.shared(scenario)


def test_the_messages_of_an_account_come_in_pages_and_new_ones_are_left(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        account = str(uuid4())
        tenants = [str(uuid4()), str(uuid4())]
        some = [MessageEvents(ANN, tenant_id=tenants[n % 2], account_id=account) for n in range(5)]
        await events.publish(*[one.accepted() for one in some])
        for one in some:
            await events.wait_recorded(one, 1)
        new = MessageEvents(ANN, tenant_id=tenants[0], account_id=account)
        bound = Timestamp()
        bound.FromMilliseconds(int(new.message_id[:8] + new.message_id[9:13], 16))
        await events.publish(new.accepted())
        await events.wait_recorded(new, 1)
        seen: list[str] = []
        request = ListRecipientMessagesRequest(
            account_id=account, address=ANN, until=bound, limit=2
        )
        while page := (await events.call(events.stub.ListRecipientMessages, request)).messages:
            seen += [one.message_id for one in page]
            request.last.CopyFrom(page[-1])
        assert sorted(seen) == sorted(one.message_id for one in some)
        assert not await messages_to(events, ANN, tenant_id=str(uuid4()))

    run_scenario.shared(scenario)


def test_files_that_may_have_the_address_go(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        account, other_account = str(uuid4()), str(uuid4())
        ann = MessageEvents(ANN, tenant_id=str(uuid4()), account_id=account)
        await events.publish(ann.accepted())
        await events.wait_recorded(ann, 1)
        made = [
            (account, ann.tenant_id), (account, None), (account, str(uuid4())),
            (other_account, None),
        ]  # fmt: skip
        ids = [
            events.rows(
                "INSERT INTO events.exports (id, account_id, tenant_id, test, kind, format, filter,"
                " key, turn_at, finished_at) VALUES (%s, %s, %s, false, 'events', 'csv', '', 'k',"
                " now(), now()) RETURNING id",
                (uuid7_text(), *owner),
            )[0][0]
            for owner in made
        ]
        await erase(events, await messages_to(events, ANN, tenant_id=ann.tenant_id))
        left = "SELECT key IS NOT NULL FROM events.exports WHERE id = %s"
        assert [events.rows(left, (one,)) for one in ids[2:]] == [[(True,)]] * 2
        assert not any(kept for one in ids[:2] for (kept,) in events.rows(left, (one,)))

    run_scenario.shared(scenario)


def test_an_address_goes_from_events_of_suppressions(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        account, tenant = str(uuid4()), str(uuid4())
        first = MessageEvents("bob@example.net", tenant_id=tenant, account_id=account)
        owners: list[dict[str, Any]] = [{"tenant_id": tenant}, {"account_id": account}]
        changes = [
            SuppressionChanged(
                suppression_id=uuid7_text(), change="added", origin="manual", address=ANN,
                note=f"{ANN} called", **owner,
            )
            for owner in owners
        ]  # fmt: skip
        await events.publish(first.accepted(), *changes)
        count = "SELECT count(*) FROM events.unpartitioned_log WHERE tenant_id = ANY(%s::uuid[])"
        await until(lambda: events.rows(count, ([tenant, account],))[0][0] == 2)
        await events.wait_recorded(first, 1)
        for owner in owners:
            await erase_suppressions(events, ANN.upper(), **owner)
        assert "events.unpartitioned_log" not in tables_with(events.database, ANN)

    run_scenario.shared(scenario)


async def erase_suppressions(events: Running, address: str, **owner: str) -> int:
    """The number of pages."""
    request = EraseSuppressionEventsRequest(address=address, **owner)
    for number in count(1):
        response = await events.call(events.stub.EraseSuppressionEvents, request)
        request.page_token = response.next_page_token
        if not request.page_token:
            return number
    raise AssertionError


async def log_suppressions(events: Running, tenant_id: str, addresses: Sequence[str]) -> None:
    changes = [
        SuppressionChanged(
            suppression_id=uuid7_text(), change="added", origin="manual", address=one,
            tenant_id=tenant_id,
        )
        for one in addresses
    ]  # fmt: skip
    await events.publish(*changes)
    await until(lambda: len(logged_addresses(events, tenant_id)) == len(addresses))


def logged_addresses(events: Running, tenant_id: str) -> list[str]:
    rows = events.rows(
        "SELECT payload FROM events.unpartitioned_log WHERE tenant_id = %s", (tenant_id,)
    )
    return sorted(SuppressionChanged.FromString(payload).address for (payload,) in rows)


def test_suppressions_of_longer_addresses_stay_in_the_log(
    run_scenario: ScenarioRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "PAGE_MAX", 2)

    async def scenario(events: Running) -> None:
        tenant = str(uuid4())
        longer = [f"jo{n}{ANN}" for n in range(3)] + [f"{ANN}.au"]
        await log_suppressions(events, tenant, [*longer, ANN])
        assert await erase_suppressions(events, ANN, tenant_id=tenant) == 3
        assert logged_addresses(events, tenant) == sorted([*longer, ERASED])

    run_scenario(scenario)


def test_an_address_beyond_ascii_goes_from_events_of_suppressions(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        tenant = str(uuid4())
        spellings = ["jürgen@example.net", "Jürgen@Example.net", "JÜRGEN@EXAMPLE.NET"]
        await log_suppressions(events, tenant, spellings)
        await erase_suppressions(events, spellings[1], tenant_id=tenant)
        assert logged_addresses(events, tenant) == [ERASED] * 3

    run_scenario.shared(scenario)


def test_what_endpoints_respond_during_an_erasure_is_not_recorded(
    run_scenario: ScenarioRunner,
) -> None:
    """A request that is under way has the address, and is repeated without it."""

    async def scenario(events: Running) -> None:
        tenant, address = str(uuid4()), f"{uuid4().hex}@example.net"
        received, released = asyncio.Event(), asyncio.Event()
        bodies: list[str] = []

        async def echo(request: web.Request) -> web.Response:
            bodies.append(await request.text())
            received.set()
            await released.wait()
            return web.Response(text=bodies[-1], status=500 if len(bodies) == 1 else 200)

        async with receiving() as receiver:
            receiver.behaviors["/hook"] = echo
            hook = pb.CreateWebhookRequest(
                tenant_id=tenant, url=f"{receiver.url}/hook", event_types=["email.sent"]
            )
            await events.call(events.stub.CreateWebhook, hook)
            ann = MessageEvents(address, tenant_id=tenant)
            await events.publish(ann.accepted())
            await received.wait()
            found = await messages_to(events, address, tenant_id=tenant)
            await erase(events, found, address)
            released.set()
            state = "SELECT state FROM events.webhook_deliveries WHERE subject_id = %s"
            await until(lambda: events.rows(state, (ann.message_id,)) == [(1,)], within_s=90)
        assert [address in one for one in bodies] == [True, False]
        assert tables_with(events.database, address) == set()

    run_scenario.shared(scenario)


def test_messages_of_several_tenants_are_refused(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        some = [
            RecipientMessage(message_id=uuid7_text(), email_id=uuid7_text(), tenant_id=str(uuid4()))
            for _ in range(2)
        ]
        with pytest.raises(RpcError):
            await erase(events, some)

    run_scenario.shared(scenario)
