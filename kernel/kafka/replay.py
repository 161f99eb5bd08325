"""Replay of compacted topics: from the beginning, then continuously."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from kernel.errors import Unavailable
from kernel.failpoint import waitpoint
from kernel.health import DependencyHealth
from kernel.kafka.cancellation import finish_despite_cancel
from kernel.kafka.consumer import POLL_TIMEOUT_MS, record_of
from kernel.processor import Record
from kernel.retry import retry_while_unavailable

# The last records may be gone from a compacted topic: its end is then reached without a record.
REPLAY_POLL_TIMEOUT_MS = 200


class ReplayedTopic(NamedTuple):
    """on_record: called with each record. replayed: set at the topic's first end."""

    partition: TopicPartition
    on_record: Callable[[Record], None]
    replayed: asyncio.Event


class TopicReplay:
    """The replay of all topics of a process, of one partition each, by one consumer: one for each
    would poll, and have connections, of its own. prefix: of the names of topics."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._topics: list[ReplayedTopic] = []

    def add(self, topic: str, on_record: Callable[[Record], None]) -> asyncio.Event:
        """Before `run`. A topic may have several listeners."""
        added = ReplayedTopic(TopicPartition(self._prefix + topic, 0), on_record, asyncio.Event())
        self._topics.append(added)
        return added.replayed

    async def run(
        self, new_consumer: Callable[[], AIOKafkaConsumer], health: DependencyHealth
    ) -> None:
        """Read until cancelled; after an outage of the broker, start again from the beginning.
        Return if there are no topics."""
        if not self._topics:
            return

        async def attempt() -> None:
            consumer = new_consumer()
            try:
                await finish_despite_cancel(consumer.start())
                await waitpoint("kafka.replay")
                await self._replay(consumer)
            except KafkaError as error:
                raise Unavailable("kafka") from error
            finally:
                await consumer.stop()

        await retry_while_unavailable(attempt, health)

    async def wait_replayed(self) -> None:
        for topic in self._topics:
            await topic.replayed.wait()

    async def _replay(self, consumer: AIOKafkaConsumer) -> None:
        partitions = {one.partition for one in self._topics}
        # Before the first request for records: the broker would answer after that one.
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, begins[partition])
        while True:
            waiting = [one for one in self._topics if not one.replayed.is_set()]
            for topic in waiting:
                if await consumer.position(topic.partition) >= ends[topic.partition]:
                    topic.replayed.set()
            timeout_ms = REPLAY_POLL_TIMEOUT_MS if waiting else POLL_TIMEOUT_MS
            for partition, raws in (await consumer.getmany(timeout_ms=timeout_ms)).items():
                self._dispatch(partition, [record_of(raw, self._prefix) for raw in raws])

    def _dispatch(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        for topic in self._topics:
            if topic.partition == partition:
                for record in records:
                    topic.on_record(record)
