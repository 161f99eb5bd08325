"""A consumer on real Kafka and PostgreSQL that closes every message."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import psycopg
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS, Priority
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel.database import Database, Transaction
from kernel.handler_result import Drop, Emit, HandlerResult
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.outbox import Outbox, outbox_table
from kernel.processor import StreamProcessor
from kernel.topics import contract_of
from tests.support.kafka_clients import client_config, options
from tests.support.records import all_of

EXPRESS, BULK = contract_of(MessageScreened.DESCRIPTOR).names
CLOSED = contract_of(MessageClosed.DESCRIPTOR).topic.name
SCHEMA = "closer"
GROUPS = {EXPRESS: "closer-express", BULK: "closer-bulk"}


class Closer:
    """Inserts each message and closes it, once."""

    def __init__(self) -> None:
        self.batches: list[list[Priority.ValueType]] = []

    async def on_screened(
        self, batch: Sequence[MessageScreened], tx: Transaction
    ) -> Sequence[HandlerResult]:
        self.batches.append([event.priority for event in batch])
        ids = [event.message_id for event in batch]
        new = await tx.rows(
            "INSERT INTO closer.messages SELECT unnest(%s::uuid[]) ON CONFLICT DO NOTHING"
            " RETURNING id::text",
            (ids,),
        )
        inserted = {row[0] for row in new}
        return [
            Emit(MessageClosed(message_id=message_id)) if message_id in inserted else Drop("repeat")
            for message_id in ids
        ]


class Bench:
    """A broker with its own topics, and a database with one table."""

    def __init__(self, bootstrap_servers: str, url: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.url = url
        self.prefix = f"k{uuid4().hex[:8]}."
        self.closer = Closer()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS closer CASCADE")
            connection.execute("CREATE SCHEMA closer")
            connection.execute("CREATE TABLE closer.messages (id uuid PRIMARY KEY)")
        engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        outbox_table(sa.MetaData(schema=SCHEMA)).create(engine)
        engine.dispose()

    @asynccontextmanager
    async def consumer(self, kafka: Kafka | None = None) -> AsyncIterator[Outbox]:
        kafka = kafka or Kafka(
            client_config(self.bootstrap_servers), DependencyHealth(), prefix=self.prefix
        )
        database = Database(self.url)
        outbox = Outbox(database, SCHEMA, kafka.publish, sweep_after_s=0.5)
        stream = StreamProcessor(
            MessageScreened,
            name="closer.screened",
            handler=self.closer.on_screened,
            health=kafka.health,
            send=kafka.publish,
            database=database,
            outbox=outbox,
        )
        kafka.consume(stream, group="closer")
        kafka.declare(MessageClosed)
        running = asyncio.create_task(kafka.run())
        try:
            yield outbox
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await outbox.drain()
            await kafka.close()
            await database.close()

    async def topics(self) -> None:
        kafka = Kafka(client_config(self.bootstrap_servers), DependencyHealth(), prefix=self.prefix)
        kafka.declare(MessageScreened, MessageClosed, Tenant)
        await kafka.create_topics()

    async def produce(
        self, *values: MessageScreened | bytes, headers: Sequence[tuple[str, Any]] = ()
    ) -> None:
        async with AIOKafkaProducer(**options(self.bootstrap_servers)) as producer:
            for value in values:
                raw = value if isinstance(value, bytes) else value.SerializeToString()
                bulk = isinstance(value, MessageScreened) and value.priority == BULK_CLASS
                topic = self.prefix + (BULK if bulk else EXPRESS)
                await producer.send(topic, raw, headers=headers)

    @asynccontextmanager
    async def offsets(self, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer that reads the group's offsets without joining it."""
        consumer = AIOKafkaConsumer(
            **options(self.bootstrap_servers),
            group_id=self.prefix + GROUPS[topic],
            enable_auto_commit=False,
        )
        async with consumer:
            consumer.assign([TopicPartition(self.prefix + topic, n) for n in range(12)])
            yield consumer

    async def members(self) -> list[Any]:
        """The members of the groups, from the broker."""
        admin = AIOKafkaAdminClient(**options(self.bootstrap_servers))
        await admin.start()
        try:
            members = []
            for group in GROUPS.values():
                [response] = await admin.describe_consumer_groups([self.prefix + group])
                members += response.groups[0][5]
            return members
        finally:
            await admin.close()

    async def all_processed(self) -> None:
        """Wait until the groups have committed all records."""
        for topic in GROUPS:
            async with self.offsets(topic) as consumer:
                ends = await consumer.end_offsets(consumer.assignment())
                while any([(await consumer.committed(tp) or 0) < end for tp, end in ends.items()]):
                    await asyncio.sleep(0.05)

    async def records_on(self, topic: str) -> list[ConsumerRecord]:
        return await all_of(self.prefix + topic, self.bootstrap_servers)

    async def closed(self) -> list[str]:
        records = await self.records_on(CLOSED)
        return sorted(MessageClosed.FromString(record.value).message_id for record in records)


BULK_CLASS = PRIORITY_BULK


def screened(priority: "Priority.ValueType" = PRIORITY_EXPRESS) -> MessageScreened:
    return MessageScreened(message_id=str(uuid4()), priority=priority)
