"""Reads the records of a topic."""

from aiokafka import AIOKafkaConsumer, ConsumerRecord


async def all_of(topic: str, bootstrap_servers: str) -> list[ConsumerRecord]:
    """All records from the beginning to the current end."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest"
    )
    found: list[ConsumerRecord] = []
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
    return found
