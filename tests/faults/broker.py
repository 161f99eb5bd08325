"""What can happen to Kafka: each acts on a world under load."""

import asyncio
import random
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from tests.faults.world import World
from tests.support.records import all_of

OFFSETS_BACK = 10_000
POISON_EVERY_S = 2.0
TOLD_AGAIN = 300
PIPELINE = (
    "ingest.message-accepted.v1.express",
    "shield.message-screened.v1.express",
    "router.delivery-assigned.v1",
    "delivery.delivery-attempted.v1",
    "router.message-closed.v1",
)


def kill_kafka(world: World, times: int) -> None:
    for turn in range(times):
        world.pause(turn)
        world.kill_kafka()
        world.stack.kafka.start()


def offsets_back(world: World, times: int) -> None:
    """Every group reads its last 10,000 records of every partition again."""
    for _ in range(times):
        for process in world.processes.all()[::-1]:
            process.terminate()
        world.note_data_sent()
        asyncio.run(set_offsets_back(world.stack.bootstrap_servers))
        world.faults += 1
        for process in world.processes.all():
            process.start()
        for process in world.processes.all():
            process.await_ready()
        time.sleep(3)


async def set_offsets_back(bootstrap_servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        groups = [group for group, *_ in await admin.list_consumer_groups()]
        committed = {group: await admin.list_consumer_group_offsets(group) for group in groups}
    finally:
        await admin.close()
    for group, offsets in committed.items():
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False
        )
        async with consumer:
            consumer.assign(list(offsets))
            back = {tp: max(0, at.offset - OFFSETS_BACK) for tp, at in offsets.items()}
            if back:
                await consumer.commit(back)


def kafka_away(world: World, times: int) -> None:
    """No broker for long; accepts go on."""
    before = len(world.client.accepted)
    world.kill_kafka()
    time.sleep(10 * times)
    if len(world.client.accepted) <= before:
        raise AssertionError("nothing was accepted while Kafka was away")
    world.stack.kafka.start()
    world.note_data_sent()


def kafka_wiped(world: World, times: int) -> None:
    """The broker's disk is lost, PostgreSQL is kept: the audit brings everything to its end."""
    for turn in range(times):
        world.pause(turn)
        world.kill_kafka()
        world.stack.kafka.wipe()
        world.stack.kafka.start()
        time.sleep(5)


def told_again(world: World, times: int) -> None:
    """Records come once more, long after those that followed, as from a late sweep of an outbox."""
    for turn in range(times):
        world.pause(turn)
        asyncio.run(tell_again(world.stack.bootstrap_servers, random.Random(turn)))
        world.faults += 1
        time.sleep(3)


async def tell_again(bootstrap_servers: str, chance: random.Random) -> None:
    """Of each topic some, in any order, in the partitions where they were."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:
        for topic in PIPELINE:
            records = await all_of(topic, bootstrap_servers)
            for old in chance.sample(records, min(TOLD_AGAIN, len(records))):
                await producer.send(
                    topic, old.value, key=old.key, partition=old.partition, headers=[*old.headers]
                )
        await producer.flush()


def poison(world: World, times: int) -> None:
    """Records that nobody can read, among good ones, on every topic of the pipeline."""
    asyncio.run(produce_poison(world.stack.bootstrap_servers, times))
    world.faults += times
    time.sleep(3)


async def produce_poison(bootstrap_servers: str, times: int) -> None:
    """So slowly that good records are many more: the dead-letter guard is for when they are not."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:
        for number in range(times):
            for topic in PIPELINE:
                for value in (b"\xff\xff", b"", b"\x0a\x05wrong", bytes([number % 256]) * 50):
                    await producer.send(topic, value, key=str(number).encode())
            await producer.flush()
            await asyncio.sleep(POISON_EVERY_S)
