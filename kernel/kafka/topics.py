"""Creation of topics from the contracts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from contracts.options.v1.options_pb2 import Topic
from kernel.errors import Unavailable
from kernel.kafka.brokers import Brokers
from kernel.topics import DLQ_SUFFIX

RECORD_BYTES_MAX = 2 * 1024 * 1024  # twice the default: dead-lettering adds headers
# Kafka deletes whole segments, so a record stays a segment's time longer than the retention.
SEGMENT_MS = str(24 * 3600 * 1000)
DEAD_LETTER_RETENTION_MS = str(30 * 24 * 3600 * 1000)
# Without the right to describe it, a client does not hear whether a topic exists.
MISSING = (UnknownTopicOrPartitionError, TopicAuthorizationFailedError)


async def create_topics(
    brokers: Brokers, topics: Mapping[str, Topic], *, partitions_max: int, replicas: int = 0
) -> None:
    """Create the missing topics and their dead-letter topics. replicas: 0: as many as there are
    brokers now, up to 3; a broker that is just away would leave its topics with too few."""
    client = AIOKafkaClient(**brokers.options())
    try:
        await client.bootstrap()
        names = [one for name in topics for one in (name, name + DLQ_SUFFIX)]
        found = await describe_topics(client, names)
        missing = {name for code, name, *_ in found.topics if for_code(code) in MISSING}
        copies = replicas or min(3, len(found.brokers))
        new = [
            new
            for name, topic in topics.items()
            for new in new_topics(
                name, topic, min(topic.partitions, partitions_max), replicas=copies
            )
            if new.name in missing
        ]
        if new:
            await _create(brokers, new)
    except KafkaError as error:
        raise Unavailable("kafka") from error
    finally:
        await client.close()


async def describe_topics(client: AIOKafkaClient, names: Iterable[str]) -> Any:  # noqa: ANN401 - aiokafka's
    """The response of a broker about these topics alone: it may share thousands of others, which
    take longer to read than a service takes to start. Raises KafkaError."""
    request = MetadataRequest([*names], allow_auto_topic_creation=False)
    return await client.send(client.get_random_node(), request)


async def _create(brokers: Brokers, new: Sequence[NewTopic]) -> None:
    admin = AIOKafkaAdminClient(**brokers.options())
    try:
        await admin.start()
        response = await admin.create_topics(new)
    finally:
        await admin.close()
    for name, code, *_ in response.topic_errors:  # aiokafka raises no error here
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(name)


def new_topics(name: str, topic: Topic, partitions: int, *, replicas: int) -> list[NewTopic]:
    """The topic of a contract, and its dead-letter topic."""
    durable = {
        "min.insync.replicas": str(max(1, replicas - 1)),
        "unclean.leader.election.enable": "false",
    }
    retention = {"retention.ms": str(topic.retention.ToMilliseconds()), "segment.ms": SEGMENT_MS}
    if topic.compacted:
        retention = {"cleanup.policy": "compact"}
    dead_letter = {
        "retention.ms": DEAD_LETTER_RETENTION_MS,
        "segment.ms": SEGMENT_MS,
        "max.message.bytes": str(RECORD_BYTES_MAX),
    }
    return [
        NewTopic(name, partitions, replicas, topic_configs=durable | retention),
        NewTopic(name + DLQ_SUFFIX, 1, replicas, topic_configs=durable | dead_letter),
    ]
