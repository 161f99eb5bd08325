"""The events service running in this process, and what a test asks of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message

from contracts.events.v1.events_service_pb2 import FindUnclosedRequest
from contracts.events.v1.events_service_pb2_grpc import EventsServiceStub
from kernel import clock
from kernel.backoff import Health, patiently
from kernel.crypto import new_secret_key
from kernel.embedded.folder import free_port
from kernel.kafka import Kafka
from kernel.rpc import Peer
from kernel.service import run
from kernel.topics import encode
from services.events.app import EVERY_FACT, create
from services.events.settings import Settings
from tests.support.facts import Told
from tests.support.pair import FreshDatabase

R = TypeVar("R", bound=Message)
TOKEN = "events-token"
KEY = new_secret_key()


class Running:
    """tell: publish events. ask: an RPC."""

    def __init__(self, kafka: Kafka, peer: Peer, database: FreshDatabase) -> None:
        self.kafka = kafka
        self.peer = peer
        self.database = database
        self.stub = EventsServiceStub(peer.channel)

    async def tell(self, *events: Message) -> None:
        records = [encode(event, clock.now()) for event in events]
        await patiently(partial(self.kafka.publish, records), Health())

    async def ask(self, method: Callable[..., Awaitable[R]], request: Message) -> R:
        return await self.peer.ask(method, request, deadline_s=10)

    async def unclosed(self, *messages: Told) -> list[str]:
        request = FindUnclosedRequest(message_ids=[message.message_id for message in messages])
        return list((await self.ask(self.stub.FindUnclosed, request)).message_ids)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The owner's look at the tables."""
        with self.database.connect() as connection:
            return connection.execute(sql, params).fetchall()

    async def recorded(self, message: Told, facts: int) -> None:
        """Wait until so many facts of a message are in the log."""
        await until(lambda: self.count(message) >= facts)

    def count(self, message: Told) -> int:
        [(found,)] = self.rows(
            "SELECT (SELECT count(*) FROM events.log WHERE subject_id = %s)"
            " + (SELECT count(*) FROM events.facts WHERE subject_id = %s)",
            (message.message_id, message.message_id),
        )
        return int(found)


async def until(reached: Callable[[], bool], *, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not reached():
            await asyncio.sleep(0.03)


class Story:
    """Plays a coroutine beside a running service, within a minute."""

    def __init__(self, bootstrap_servers: str, database: FreshDatabase, prefix: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.database = database
        self.prefix = prefix

    def __call__(self, told: Callable[[Running], Awaitable[None]], **settings: object) -> None:
        async def alone() -> None:
            async with asyncio.timeout(60), self.service(**settings) as events:
                await told(events)

        asyncio.run(alone())

    def service(self, **settings: object) -> AbstractAsyncContextManager[Running]:
        return running(self.bootstrap_servers, self.database, prefix=self.prefix, **settings)


@pytest.fixture
def story(bootstrap_servers: str, database: FreshDatabase, topic_prefix: str) -> Story:
    return Story(bootstrap_servers, database, topic_prefix)


@asynccontextmanager
async def running(
    bootstrap_servers: str, database: FreshDatabase, *, prefix: str, **settings: object
) -> AsyncIterator[Running]:
    """The service, until the block ends, and a producer beside it."""
    port = free_port()
    known: dict[str, Any] = {
        "kafka_bootstrap_servers": bootstrap_servers,
        "kafka_topic_prefix": prefix,
        "secret_keys": [KEY],
        "rpc_token": TOKEN,
        "engine_database_url": database.engine("events"),
        "api_database_url": database.api("events"),
        "rpc_listen": f"127.0.0.1:{port}",
        "webhook_allow": ["127.0.0.0/8"],
        "gather_s": 0.02,
        "webhook_poll_s": 0.05,
    }
    stop = asyncio.Event()
    service = asyncio.create_task(run([create(Settings(**{**known, **settings}))], stop=stop))
    kafka = Kafka(bootstrap_servers, Health(), prefix=prefix, client="told", drain_s=0.1)
    kafka.declare(*EVERY_FACT)
    await patiently(kafka.create_topics, Health())
    peer = Peer("events", f"127.0.0.1:{port}", TOKEN)
    await peer.channel.channel_ready()
    try:
        yield Running(kafka, peer, database)
    finally:
        await peer.close()
        await kafka.close()
        stop.set()
        await service
