"""Ends of topics."""

from collections import defaultdict
from collections.abc import Iterable

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest

from kernel.kafka.consumer import NO_LEADER

ANY_REPLICA, READ_UNCOMMITTED, LATEST = -1, 0, -1


async def end_offsets(
    client: AIOKafkaClient, cluster: ClusterMetadata, topics: Iterable[str]
) -> dict[str, int]:
    """Of the first partition of each topic; 0 if it is empty. Raises KafkaError."""
    by_leader: dict[int, list[tuple[str, list[tuple[int, int]]]]] = defaultdict(list)
    for topic in topics:
        leader = cluster.leader_for_partition(TopicPartition(topic, 0))
        if leader in NO_LEADER:
            raise LeaderNotAvailableError(topic)
        by_leader[leader].append((topic, [(0, LATEST)]))
    ends: dict[str, int] = {}
    for leader, partitions in by_leader.items():
        request = OffsetRequest(ANY_REPLICA, READ_UNCOMMITTED, partitions)
        for topic, [(_, code, _, end)] in (await client.send(leader, request)).topics:
            if code:
                raise for_code(code)(topic)
            ends[topic] = end
    return ends
