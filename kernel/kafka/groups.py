"""Consumer groups: unassigned partitions and progress."""

from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest

STABLE_STATES = {"Stable", "Empty", "Dead"}  # the others are stages of a rebalance


def partitions_of(topics: Collection[str], cluster: ClusterMetadata) -> set[TopicPartition]:
    return {
        TopicPartition(topic, partition)
        for topic in topics
        for partition in cluster.partitions_for_topic(topic) or ()
    }


async def unassigned_partitions(
    client: AIOKafkaClient, group: str, partitions: set[TopicPartition]
) -> set[TopicPartition]:
    """The partitions that no member of the group is assigned; empty during a rebalance and while
    the coordinator is unavailable."""
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        response = await client.send(node, DescribeGroupsRequest([group]))
    except KafkaError:
        return set()
    code, _, state, _, _, members, *_ = response.groups[0]
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
    """Whether a group has committed all records of these partitions up to before_ms."""
    if not partitions:
        return True  # nothing was ever published there
    committed = await admin.list_consumer_group_offsets(group)
    newer = await consumer.offsets_for_times(dict.fromkeys(partitions, before_ms))
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    required = {tp: newer[tp].offset if newer.get(tp) else ends[tp] for tp in partitions}
    positions = {tp: committed[tp].offset if tp in committed else 0 for tp in partitions}
    return all(max(positions[tp], begins[tp]) >= required[tp] for tp in partitions)


def assigned(assignment: bytes) -> list[TopicPartition]:
    """The partitions of a member; empty before its first assignment."""
    return ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions() if assignment else []
