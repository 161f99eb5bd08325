"""The events service running in this process, and what a test asks of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from google.protobuf.message import Message

from contracts.events.v1.events_service_pb2 import FindUnclosedRequest
from contracts.events.v1.events_service_pb2_grpc import EventsServiceStub
from kernel import clock
from kernel.backoff import Health
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
        await self.kafka.publish([encode(event, clock.now()) for event in events])

    async def ask(self, method: Callable[..., Awaitable[R]], request: Message) -> R:
        return await self.peer.ask(method, request, deadline_s=10)

    async def unclosed(self, *messages: Told) -> list[str]:
        request = FindUnclosedRequest(message_ids=[message.message_id for message in messages])
        return list((await self.ask(self.stub.FindUnclosed, request)).message_ids)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The owner's look at the tables."""
        with self.database.connect() as connection:
            return connection.execute(sql, params).fetchall()  # type: ignore[arg-type]

    async def recorded(self, message: Told, facts: int) -> None:
        """Wait until so many facts of a message are in the log."""
        query = (
            "SELECT (SELECT count(*) FROM events.log WHERE subject_id = %(id)s)"
            " + (SELECT count(*) FROM events.facts WHERE subject_id = %(id)s)"
        )
        await until(lambda: self.rows(query, {"id": message.message_id})[0][0] >= facts)  # type: ignore[arg-type]


async def until(reached: Callable[[], bool], *, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not reached():
            await asyncio.sleep(0.03)


@asynccontextmanager
async def running(
    bootstrap_servers: str, database: FreshDatabase, *, prefix: str, **settings: Any
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
    producer = asyncio.create_task(kafka.run())
    peer = Peer("events", f"127.0.0.1:{port}", TOKEN)
    await peer.channel.channel_ready()
    try:
        yield Running(kafka, peer, database)
    finally:
        await peer.close()
        producer.cancel()
        with suppress(asyncio.CancelledError):
            await producer
        await kafka.close()
        stop.set()
        await service
