"""Runs the events service in this process, and calls it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar

import pytest
from google.protobuf.message import Message

from contracts.events.v1.events_service_pb2 import FindOpenRequest
from contracts.events.v1.events_service_pb2_grpc import EventsServiceStub
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel import clock
from kernel.database import Database
from kernel.embedded.folder import free_port
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.retry import retry_while_unavailable
from kernel.rpc import RpcClient
from kernel.service import run_services
from kernel.topics import encode
from services.events.app import create_service
from services.events.domain.log_event import ALL_EVENTS
from services.events.settings import Settings
from tests.support.kafka_clients import client_config
from tests.support.keys import SECRET_KEY
from tests.support.message_events import MessageEvents
from tests.support.module_loop import ModuleLoop
from tests.support.polling import WITHIN_S, until
from tests.support.stack import FreshDatabase

R = TypeVar("R", bound=Message)
T = TypeVar("T")
TOKEN = "events-token"
__all__ = ("WITHIN_S", "ScenarioRunner", "run_scenario", "running", "until")


class Running:
    """A running events service. call: an RPC. stop: set to stop the service."""

    def __init__(
        self, kafka: Kafka, peer: RpcClient, database: FreshDatabase, stop: asyncio.Event
    ) -> None:
        self.stop = stop
        self.kafka = kafka
        self.peer = peer
        self.database = database
        self.stub = EventsServiceStub(peer.channel)

    async def publish(self, *events: Message) -> None:
        records = [encode(event, clock.now()) for event in events]
        await retry_while_unavailable(partial(self.kafka.publish, records), DependencyHealth())

    async def publish_in_order(self, *events: Message) -> None:
        """The accepts, and then the others: topics are read beside each other, and the accept tells
        the account of a tenant that is not in the directory."""
        accepts = [one for one in events if isinstance(one, MessageAccepted)]
        await self.publish(*accepts)
        for one in accepts:
            await self.wait_recorded(one, 1)
        await self.publish(*(one for one in events if not isinstance(one, MessageAccepted)))

    async def call(self, method: Callable[..., Awaitable[R]], request: Message) -> R:
        return await self.peer.call(method, request, deadline_s=60)

    def system_database(self) -> Database:
        """Of the role that sees all tenants; the caller closes it."""
        return Database(self.database.system("events"), name="test")

    async def find_open(self, *messages: MessageEvents) -> list[str]:
        request = FindOpenRequest(message_ids=[message.message_id for message in messages])
        return list((await self.call(self.stub.FindOpen, request)).message_ids)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Query the tables as their owner."""
        with self.database.connect() as connection:
            return connection.execute(sql, params).fetchall()

    async def wait_recorded(self, message: MessageEvents | MessageAccepted, count: int) -> None:
        """Wait until the log has this many events of a message."""
        await until(lambda: self.count(message) >= count)

    def count(self, message: MessageEvents | MessageAccepted) -> int:
        [(found,)] = self.rows(
            "SELECT (SELECT count(*) FROM events.log WHERE subject_id = %s)"
            " + (SELECT count(*) FROM events.unpartitioned_log WHERE subject_id = %s)",
            (message.message_id, message.message_id),
        )
        return int(found)


async def wait_until_served(peer: RpcClient, service: "asyncio.Task[None]") -> None:
    """Raises the error of a service that ends instead."""
    ready = asyncio.ensure_future(peer.channel.channel_ready())
    await asyncio.wait([ready, service], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if service.done():
        service.result()


Scenario: TypeAlias = Callable[[Running], Awaitable[None]]


class ScenarioRunner:
    """Runs a coroutine with a running service."""

    def __init__(
        self, bootstrap_servers: str, database: FreshDatabase, prefix: str, loop: ModuleLoop
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.database = database
        self.prefix = prefix
        self.loop = loop

    def __call__(self, scenario: Scenario, **settings: object) -> None:
        """The service starts for the scenario and stops after it."""

        async def main() -> None:
            async with self.service(**settings) as events:
                await scenario(events)

        self.run(main())

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """For a test that starts services or processes of its own."""

        async def alone() -> T:
            async with asyncio.timeout(600):
                await self.loop.end_shared()
                return await main

        return self.loop.run(alone())

    def shared(self, scenario: Scenario, **settings: object) -> None:
        """For a scenario that needs no start and no stop of its own: the service goes on running
        for the next tests of the module that have the same settings."""

        async def main() -> None:
            async with asyncio.timeout(600):
                await scenario(await self.share(**settings))

        self.loop.run(main())

    async def share(self, **settings: object) -> Running:
        return await self.loop.share(lambda _: settings, partial(self.service, **settings))

    def service(self, **settings: object) -> AbstractAsyncContextManager[Running]:
        return running(self.bootstrap_servers, self.database, prefix=self.prefix, **settings)


@pytest.fixture
def run_scenario(
    bootstrap_servers: str, database: FreshDatabase, topic_prefix: str, module_loop: ModuleLoop
) -> ScenarioRunner:
    return ScenarioRunner(bootstrap_servers, database, topic_prefix, module_loop)


@asynccontextmanager
async def running(
    bootstrap_servers: str, database: FreshDatabase, *, prefix: str, **settings: object
) -> AsyncIterator[Running]:
    """Run the service until the block ends, with a producer for the test."""
    port = free_port()
    defaults: dict[str, Any] = {
        "kafka_bootstrap_servers": bootstrap_servers,
        "kafka_topic_prefix": prefix,
        "secret_keys": [SECRET_KEY],
        "rpc_token": TOKEN,
        "system_database_url": database.system("events"),
        "tenant_database_url": database.tenant("events"),
        "rpc_listen": f"127.0.0.1:{port}",
        "webhook_allowed_networks": ["127.0.0.0/8"],
        "linger_s": 0.02,
        "webhook_poll_interval_s": 0.05,
    }
    stop = asyncio.Event()
    service = asyncio.create_task(
        run_services([create_service(Settings(**{**defaults, **settings}))], stop=stop)
    )
    kafka = Kafka(
        client_config(bootstrap_servers),
        DependencyHealth(),
        prefix=prefix,
        client="test",
        shutdown_timeout_s=0.1,
        secret_keys=[SECRET_KEY],
    )
    kafka.declare(*ALL_EVENTS)
    await retry_while_unavailable(kafka.create_topics, DependencyHealth())
    peer = RpcClient("events", f"127.0.0.1:{port}", TOKEN)
    try:
        await wait_until_served(peer, service)
        yield Running(kafka, peer, database, stop)
    finally:
        await peer.close()
        await kafka.close()
        stop.set()
        await service
