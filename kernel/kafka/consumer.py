"""Consuming: processed offsets and priorities of one consumer."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faststream.kafka import KafkaMessage
from google.protobuf.message import Message

from kernel import metrics
from kernel.batch_pacer import BatchPacer
from kernel.processor import Record, StreamProcessor
from kernel.topics import contract_of

BATCH_RECORDS_MAX = 500
COMMIT_TIMEOUT_S = 5.0
BULK_SHARE = 10  # while express has a backlog, every tenth batch is bulk's

logger = logging.getLogger(__name__)


@dataclass
class ConsumerWorker(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs a processor on the batches of one consumer; tracks processed offsets and priorities."""

    stream: StreamProcessor[Message]
    group: str
    prefix: str
    fail: Callable[[BaseException], None]
    names: list[str] = field(init=False)  # of the topics, express first
    consumer: AIOKafkaConsumer | None = None
    batches: int = 0
    ended: bool = False
    processed: dict[TopicPartition, int] = field(default_factory=dict)
    pace: BatchPacer = field(init=False)

    def __post_init__(self) -> None:
        self.pace = BatchPacer(self.stream.linger_s)
        self.names = [
            self.prefix + name
            for event in self.stream.events
            for name in contract_of(event.DESCRIPTOR).names
        ]

    async def on_batch(self, batch: KafkaMessage) -> None:
        # FastStream swallows every error of a handler, even SystemExit, and polls again; a later
        # commit would then skip the batch. So record the error, and process nothing more.
        if self.ended:
            return
        raws = cast(Sequence[ConsumerRecord], batch.raw_message)
        self.consumer = cast(AIOKafkaConsumer, batch.consumer)
        self.pace.start_batch(len(raws))
        lingers = self.stream.linger_s > 0 and len(raws) < BATCH_RECORDS_MAX
        if lingers:  # before the first await: a fetch now would return with the next single record,
            # while a fetch after the pause returns all that arrived
            self.consumer.pause(*self.consumer.assignment())
        try:
            await self.stream.handle([record_of(raw, self.prefix) for raw in raws])
            self.processed.update(next_offsets(raws))
            if lingers:
                await self.pace.wait_turn()
                self.consumer.resume(*self.consumer.assignment())
            await self._prioritize(self.consumer)
        except Exception as error:
            self.ended = True
            self.fail(error)

    @property
    def _prioritizes(self) -> bool:
        return len(self.names) > 1 and len(self.stream.events) == 1

    async def _prioritize(self, consumer: AIOKafkaConsumer) -> None:
        """Express first, and a tenth of the batches from bulk while express has a backlog.

        Partitions are paused only if the others are known to have records: then the next batch is
        certain to come, and it resumes them.
        """
        if not self._prioritizes:
            return
        assigned = consumer.assignment()
        express = [tp for tp in assigned if tp.topic == self.names[0]]
        bulk = [tp for tp in assigned if tp.topic != self.names[0]]
        self.batches += 1
        consumer.resume(*assigned)
        if not await self._backlog(consumer, express):
            return
        if self.batches % BULK_SHARE:
            consumer.pause(*bulk)
        elif await self._backlog(consumer, bulk):
            consumer.pause(*express)

    async def _backlog(
        self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]
    ) -> bool:
        """Whether records are known to be waiting; the end is known after the first fetch."""
        for tp in partitions:
            end = consumer.highwater(tp)
            if end is not None and end > await consumer.position(tp):
                return True
        return False

    async def commit(self) -> None:
        """Commit the processed offsets, never the consumer's position."""
        if self.consumer is None or not self.processed:
            return
        assigned = self.consumer.assignment()
        offsets = {tp: offset for tp, offset in self.processed.items() if tp in assigned}
        metrics.lag.labels(self.stream.name).set(self._lag(self.consumer, offsets))
        try:
            if offsets:
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    await self.consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            logger.warning(
                "kafka.commit.fenced"
            )  # the new owner of the partitions repeats the batch
        except (KafkaError, TimeoutError) as error:
            logger.warning("kafka.commit.failed", extra={"error": repr(error)})

    @staticmethod
    def _lag(consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> int:
        return sum(max(0, (consumer.highwater(tp) or 0) - at) for tp, at in offsets.items())

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self.commit()
        for tp in revoked:
            self.processed.pop(tp, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.processed.clear()  # they start at the group's committed offsets


def next_offsets(raws: Iterable[ConsumerRecord]) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition in this batch."""
    return {TopicPartition(raw.topic, raw.partition): raw.offset + 1 for raw in raws}


def record_of(raw: ConsumerRecord, prefix: str = "") -> Record:
    topic = raw.topic.removeprefix(prefix)
    return Record(topic, raw.partition, raw.offset, raw.key, raw.value, raw.headers)
