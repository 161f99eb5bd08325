"""Creation of topics from the contracts."""

from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from contracts.options.v1.options_pb2 import Topic
from kernel.errors import Unavailable
from kernel.kafka.brokers import Brokers
from kernel.topics import DLQ_SUFFIX

RECORD_BYTES_MAX = 2 * 1024 * 1024  # twice the default: dead-lettering adds headers
# Kafka deletes whole segments, so a record stays a segment's time longer than the retention.
SEGMENT_MS = str(24 * 3600 * 1000)
DEAD_LETTER_RETENTION_MS = str(30 * 24 * 3600 * 1000)


async def create_topics(
    brokers: Brokers, topics: Mapping[str, Topic], *, partitions_max: int, replicas: int = 0
) -> None:
    """Create the missing topics and their dead-letter topics. replicas: 0: as many as there are
    brokers now, up to 3; a broker that is just away would leave its topics with too few."""
    admin = AIOKafkaAdminClient(**brokers.options())
    try:
        await admin.start()
        copies = replicas or min(3, len((await admin.describe_cluster())["brokers"]))
        existing = set(await admin.list_topics())
        new = [
            new
            for name, topic in topics.items()
            for new in new_topics(
                name, topic, min(topic.partitions, partitions_max), replicas=copies
            )
        ]
        response = await admin.create_topics([topic for topic in new if topic.name not in existing])
        for name, code, *_ in response.topic_errors:  # aiokafka raises no error here
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(name)
    except KafkaError as error:
        raise Unavailable("kafka") from error
    finally:
        await admin.close()


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
