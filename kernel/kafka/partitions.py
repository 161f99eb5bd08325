"""How many partitions topics have, and how to add some."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from kernel.errors import ConfigError, Unavailable
from kernel.kafka.brokers import Brokers

REFUSED = (
    ClusterAuthorizationFailedError,
    TopicAuthorizationFailedError,
    InvalidReplicationFactorError,
)


async def count_partitions(brokers: Brokers, topics: Collection[str]) -> dict[str, int]:
    """By topic, of those that exist. Raises Unavailable."""
    async with admin_client(brokers) as admin:
        existing = sorted({*topics} & {*await admin.list_topics()})
        found = await admin.describe_topics(existing) if existing else []
        return {one["topic"]: len(one["partitions"]) for one in found}


async def grow_topics(brokers: Brokers, counts: Mapping[str, int]) -> None:
    """counts: new numbers by topic, larger than the present ones. Raises Unavailable, and
    ConfigError if the broker refuses."""
    async with admin_client(brokers) as admin:
        for topic, count in counts.items():
            try:
                await admin.create_partitions({topic: NewPartitions(count)})
            except REFUSED as error:
                raise ConfigError(f"Kafka refuses to grow {topic}: {error}.") from error


@asynccontextmanager
async def admin_client(brokers: Brokers) -> AsyncIterator[AIOKafkaAdminClient]:
    """Raises Unavailable."""
    admin = AIOKafkaAdminClient(**brokers.options())
    try:
        await admin.start()
        yield admin
    except KafkaError as error:
        raise Unavailable("kafka") from error
    finally:
        await admin.close()
