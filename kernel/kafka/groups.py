"""Who reads what."""

from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest

STABLE_STATES = {"Stable", "Empty", "Dead"}  # the others are on their way


def partitions_of(topics: Collection[str], cluster: ClusterMetadata) -> set[TopicPartition]:
    return {
        TopicPartition(topic, partition)
        for topic in topics
        for partition in cluster.partitions_for_topic(topic) or ()
    }


async def unassigned_partitions(
    client: AIOKafkaClient, group: str, partitions: set[TopicPartition]
) -> set[TopicPartition]:
    """Those that no member of the group reads; none while the group is making up its mind, or
    nobody can be asked."""
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        answer = await client.send(node, DescribeGroupsRequest([group]))
    except KafkaError:
        return set()
    code, _, state, _, _, members, *_ = answer.groups[0]
    if code or state not in STABLE_STATES:
        return set()
    return partitions.difference(*(assigned(member[-1]) for member in members))


async def has_consumed(
    consumer: AIOKafkaConsumer,
    admin: AIOKafkaAdminClient,
    *,
    group: str,
    partitions: set[TopicPartition],
    before_ms: int,
) -> bool:
    """Whether a group has committed all records of these partitions that are older."""
    if not partitions:
        return True  # nobody has ever told anything there
    committed = await admin.list_consumer_group_offsets(group)
    newer = await consumer.offsets_for_times(dict.fromkeys(partitions, before_ms))
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    wanted = {tp: newer[tp].offset if newer.get(tp) else ends[tp] for tp in partitions}
    at = {tp: committed[tp].offset if tp in committed else 0 for tp in partitions}
    return all(max(at[tp], begins[tp]) >= wanted[tp] for tp in partitions)


def assigned(assignment: bytes) -> list[TopicPartition]:
    """What a member has been given; nothing before its first assignment."""
    return ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions() if assignment else []
