"""Processes of a service count each other, and a limit of all holds however many there are."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from uuid import uuid4

from aiohttp import web

from cli.environment import Ports
from contracts.events.v1.events_service_pb2 import CreateWebhookRequest
from contracts.ingest.v1.directory_pb2 import Tenant
from kernel.database import Database
from kernel.replicas import PREFIX, ReplicaCounter
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.ingest import IngestHarness
from tests.support.message_events import MessageEvents
from tests.support.receiver import receiving
from tests.support.stack import FreshDatabase, harness_fixture

__all__ = ["run_scenario"]

harness = harness_fixture(IngestHarness, scope="function")
PER_S, REQUESTS = 6, 60
CONCURRENCY = 2
DELIVERIES = 24  # at a time, of as many tenants
WEBHOOKS: dict[str, object] = {
    "webhook_concurrency": CONCURRENCY,
    "webhook_timeout_s": 300.0,
    "webhook_lease_s": 900.0,
}


def beats(database: FreshDatabase, schema: str) -> dict[object, object]:
    """By process, what changes with each of its beats."""
    with database.connect() as owner:
        rows = owner.execute(
            f"SELECT name, expires_at FROM {schema}.leases WHERE name LIKE %s".encode(),
            (f"{PREFIX}%",),
        )
        return dict(rows.fetchall())  # type: ignore[arg-type]


async def until_all_know(database: FreshDatabase, schema: str, count: int) -> None:
    """Until each of so many processes has counted since all of them were there."""
    await until(lambda: len(beats(database, schema)) == count)
    first = beats(database, schema)
    await until(lambda: first.items().isdisjoint(beats(database, schema).items()))


async def test_processes_count_each_other(database: FreshDatabase) -> None:
    system = Database(database.system("router"), name="test")
    replicas = [ReplicaCounter(system, "router", alive_s=300) for _ in range(3)]
    one, two, three = replicas
    for _ in range(2):
        for each in replicas:
            await each.beat()
    assert [each.count for each in replicas] == [3, 3, 3]
    assert (one.share_of(10), one.share_of(2)) == (3, 1)

    await three.leave()
    await one.beat()
    assert one.count == 2
    with database.connect() as owner:  # as if two were killed
        owner.execute(
            "UPDATE router.leases SET expires_at = now() - interval '2 h' WHERE name = %s",
            (two.name,),
        )
    await one.beat()
    assert one.count == 1
    await two.beat()  # it was only paused
    await one.beat()
    assert (one.count, two.count) == (2, 2)
    with database.connect() as owner:
        owner.execute(
            "UPDATE router.leases SET expires_at = now() - interval '2 h' WHERE name = %s",
            (two.name,),
        )
    await one.leave()
    assert beats(database, "router") == {}
    await system.close()


async def test_the_request_limit_of_a_key_is_that_of_all_processes(harness: IngestHarness) -> None:
    harness.extra["key_rate_limit_per_s"] = PER_S
    others = (Ports.find_free(), Ports.find_free())
    async with harness.running(*others):
        await harness.sign_up()
        await until_all_know(harness.database, "ingest", 3)

        async def admitted(port: int) -> int:
            found = [
                await harness.request("GET", "/v1/domains", port=port) for _ in range(REQUESTS)
            ]
            assert {one.headers["ratelimit-limit"] for one in found} == {str(PER_S)}
            return sum(one.status == 200 for one in found)

        began_s = time.monotonic()
        ports = [one.ingest_http for one in (harness.ports, *others)]
        count = sum(await asyncio.gather(*map(admitted, ports)))
        took_s = time.monotonic() - began_s
    assert count >= PER_S
    # a burst of one second, and for each process one more that had begun
    assert count <= PER_S * (took_s + 1) + len(ports)


async def publish_tenants(events: Running, messages: Sequence[MessageEvents]) -> None:
    """As before the first mail of each."""
    ids = [one.tenant_id for one in messages]
    await events.publish(
        *(Tenant(tenant_id=one.tenant_id, version=1, account_id=one.account_id) for one in messages)
    )
    known = "SELECT FROM events.tenant_accounts WHERE tenant_id = ANY(%s::uuid[])"
    await until(lambda: len(events.rows(known, (ids,))) == len(ids))


def test_an_endpoint_gets_no_more_at_once_from_two_processes(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        open_now, most, go_on = 0, 0, asyncio.Event()

        async def hold(_: web.Request) -> web.Response:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            await go_on.wait()
            open_now -= 1
            return web.Response()

        async with run_scenario.service(**WEBHOOKS), receiving() as receiver:
            await until_all_know(events.database, "events", 2)
            receiver.behaviors["/held"] = hold
            account = str(uuid4())
            for path, kind in (("/held", "email.delivered"), ("/free", "email.sent")):
                request = CreateWebhookRequest(
                    account_id=account, url=receiver.url + path, event_types=[kind]
                )
                await events.call(events.stub.CreateWebhook, request)
            sent = 0

            def have_arrived(path: str) -> bool:
                return len(receiver.at(path)) == sent

            while open_now < CONCURRENCY:  # one process may read all partitions at first
                sent += DELIVERIES
                messages = [MessageEvents(account_id=account) for _ in range(DELIVERIES)]
                await publish_tenants(events, messages)
                await events.publish(*(event for one in messages for event in one.delivered()))
                await until(partial(have_arrived, "/free"), within_s=100)
            go_on.set()
            await until(partial(have_arrived, "/held"), within_s=100)
            assert most == CONCURRENCY

    run_scenario(scenario, **WEBHOOKS)
