"""Faults of Kafka and its records, injected into a world under load."""

import asyncio
import random
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from tests.faults.world import World
from tests.support.kafka_clients import options_of
from tests.support.records import records_of

REWIND_RECORDS = 10_000
POISON_EVERY_S = 2.0
REPEATED_MAX = 300
OUTAGE_S = 10.0
PIPELINE = (
    "ingest.message-accepted.v1.express",
    "shield.message-screened.v1.express",
    "router.delivery-assigned.v1.express",
    "delivery.delivery-attempted.v1",
    "router.message-closed.v1",
)


def kill_kafka(world: World, times: int) -> None:
    for turn in range(times):
        world.pause(turn)
        world.kill_kafka()
        world.stack.kafka.start()


def rewind_offsets(world: World, times: int) -> None:
    """Every group consumes the last 10,000 records of every partition again."""
    for _ in range(times):
        for process in world.processes.all()[::-1]:
            process.terminate()
        world.record_data_sent()
        asyncio.run(rewind_group_offsets(options_of(world.stack.kafka.client_settings)))
        world.faults += 1
        for process in world.processes.all():
            process.start()
        for process in world.processes.all():
            process.await_ready()
        time.sleep(3)


async def rewind_group_offsets(kafka: dict[str, Any]) -> None:
    admin = AIOKafkaAdminClient(**kafka)
    await admin.start()
    try:
        groups = [group for group, *_ in await admin.list_consumer_groups()]
        committed = {group: await admin.list_consumer_group_offsets(group) for group in groups}
    finally:
        await admin.close()
    for group, offsets in committed.items():
        consumer = AIOKafkaConsumer(**kafka, group_id=group, enable_auto_commit=False)
        async with consumer:
            consumer.assign(list(offsets))
            rewound = {tp: max(0, at.offset - REWIND_RECORDS) for tp, at in offsets.items()}
            if rewound:
                await consumer.commit(rewound)


def stop_kafka(world: World, times: int, *, outage_s: float = OUTAGE_S) -> None:
    """The broker is down for long; accepts must continue."""
    before = len(world.client.accepted)
    world.kill_kafka()
    time.sleep(outage_s * times)
    if len(world.client.accepted) <= before:
        raise AssertionError("no message was accepted while Kafka was down")
    world.stack.kafka.start()
    world.record_data_sent()


def wipe_kafka(world: World, times: int) -> None:
    """The broker loses its disk, PostgreSQL does not: the audit must close every message."""
    for turn in range(times):
        world.pause(turn)
        world.kill_kafka()
        world.stack.kafka.wipe()
        world.stack.kafka.start()
        time.sleep(5)


def repeat_records(world: World, times: int) -> None:
    """Records arrive again, long after their successors, as from a late sweep of an outbox."""
    for turn in range(times):
        world.pause(turn)
        asyncio.run(
            republish_sample(options_of(world.stack.kafka.client_settings), random.Random(turn))
        )
        world.faults += 1
        time.sleep(3)


async def republish_sample(kafka: dict[str, Any], chance: random.Random) -> None:
    """Publish some records of each topic again, in random order, in their partitions."""
    async with AIOKafkaProducer(**kafka) as producer:
        for topic in PIPELINE:
            records = await records_of(kafka, topic)
            for old in chance.sample(records, min(REPEATED_MAX, len(records))):
                await producer.send(
                    topic, old.value, key=old.key, partition=old.partition, headers=[*old.headers]
                )
        await producer.flush()


def poison(world: World, times: int) -> None:
    """Publish records that cannot be decoded, among good ones, to every topic of the pipeline."""
    asyncio.run(produce_poison(options_of(world.stack.kafka.client_settings), times))
    world.faults += times
    time.sleep(3)


async def produce_poison(kafka: dict[str, Any], times: int) -> None:
    """Publish slowly, so that good records are far more: otherwise the dead-letter guard stops."""
    async with AIOKafkaProducer(**kafka) as producer:
        for number in range(times):
            for topic in PIPELINE:
                for value in (b"\xff\xff", b"", b"\x0a\x05wrong", bytes([number % 256]) * 50):
                    await producer.send(topic, value, key=str(number).encode())
            await producer.flush()
            await asyncio.sleep(POISON_EVERY_S)
