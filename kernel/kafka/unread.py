"""Partitions that consumers have and do not read."""

from collections.abc import Iterable

from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata

from kernel import clock
from kernel.kafka.consumer import ConsumerWorker

UNREAD_CHECKS = 6  # a new assignment begins to read within some seconds


class UnreadPartitionCheck:
    """Finds partitions that were unread in each of the last checks."""

    def __init__(self) -> None:
        self._checks: dict[TopicPartition, int] = {}

    def check(self, workers: Iterable[ConsumerWorker], cluster: ClusterMetadata) -> list[str]:
        """Topics of which a partition was unread too often in a row. Counting begins anew then."""
        now_ms = clock.now_ms()
        found = {tp for one in workers for tp in one.unread(cluster, now_ms=now_ms)}
        self._checks = {tp: self._checks.get(tp, 0) + 1 for tp in found}
        topics = sorted(
            {tp.topic for tp, checks in self._checks.items() if checks >= UNREAD_CHECKS}
        )
        if topics:
            self._checks = {}
        return topics
