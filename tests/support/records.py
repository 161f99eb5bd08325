"""Reads the records of a topic."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from tests.support.kafka_clients import options


async def all_of(topic: str, bootstrap_servers: str) -> list[ConsumerRecord]:
    """All records from the beginning to the current end."""
    return await records_of(options(bootstrap_servers), topic)


async def records_of(kafka: Mapping[str, Any], *topics: str) -> list[ConsumerRecord]:
    """The same, of several topics. kafka: arguments of aiokafka's clients."""
    consumer = AIOKafkaConsumer(*topics, **kafka, auto_offset_reset="earliest")
    found: list[ConsumerRecord] = []
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
    return found


@asynccontextmanager
async def consuming(
    kafka: Mapping[str, Any], group: str, topics: Sequence[str]
) -> AsyncIterator[None]:
    """A consumer of all records, from the beginning until the end of the block."""
    consumer = AIOKafkaConsumer(
        *topics, **kafka, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )

    async def read() -> None:
        while True:
            if await consumer.getmany(timeout_ms=200):
                await consumer.commit()

    async with consumer:
        reading = asyncio.create_task(read())
        try:
            yield
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
