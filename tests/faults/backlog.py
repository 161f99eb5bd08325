"""Where messages wait when a world does not drain: the outboxes, and the lag of consumer groups."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.faults.world import World
from tests.support.kafka_clients import options_of

OPEN = {
    "open in ingest": "SELECT count(*) FROM ingest.messages WHERE closed_state IS NULL",
    "queued in router": "SELECT count(*) FROM router.messages WHERE state = 'queued'",
    "assigned in router": "SELECT count(*) FROM router.messages WHERE state = 'assigned'",
    "in attempts of delivery": "SELECT count(*) FROM delivery.attempts WHERE stage <> 'done'",
}
OUTBOXES = ("ingest", "shield", "router", "delivery", "events")


def describe_backlog(world: World) -> list[str]:
    """One line per place where something waits."""
    counts = {name: world.count(query) for name, query in OPEN.items()}
    for schema in OUTBOXES:
        query = f"SELECT coalesce(sum(messages), 0) FROM {schema}.outbox"
        counts[f"in the outbox of {schema}"] = world.count(query)
    found = [f"{count} {name}" for name, count in counts.items() if count]
    try:
        return found + asyncio.run(lags(options_of(world.stack.kafka.client_settings)))
    except KafkaError as error:
        return [*found, f"consumer groups: {error!r}"]


async def lags(kafka: dict[str, Any]) -> list[str]:
    """The partitions whose records a group has not committed."""
    admin = AIOKafkaAdminClient(**kafka)
    await admin.start()
    try:
        groups = sorted(group for group, *_ in await admin.list_consumer_groups())
        committed = {group: await admin.list_consumer_group_offsets(group) for group in groups}
    finally:
        await admin.close()
    async with AIOKafkaConsumer(**kafka) as consumer:
        ends = await consumer.end_offsets({tp for at in committed.values() for tp in at})
    return [
        f"group {group}: {tp.topic}/{tp.partition} at {at.offset} of {ends[tp]}"
        for group, offsets in committed.items()
        for tp, at in sorted(offsets.items())
        if at.offset != ends[tp]
    ]
