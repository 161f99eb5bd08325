"""Replay of compacted topics: from the beginning, then continuously."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class TopicReplay:
    """The replay of a topic with one partition. replayed: set at its first end. prefix: of the
    topic's name."""

    topic: str
    prefix: str
    on_record: Callable[[Record], None]
    replayed: asyncio.Event

    async def run(
        self, new_consumer: Callable[[], AIOKafkaConsumer], health: DependencyHealth
    ) -> None:
        """Read until cancelled; after an outage of the broker, start again from the beginning."""

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

    async def _replay(self, consumer: AIOKafkaConsumer) -> None:
        tp = TopicPartition(self.topic, 0)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        while True:
            if not self.replayed.is_set() and await consumer.position(tp) >= end:
                self.replayed.set()
            timeout_ms = POLL_TIMEOUT_MS if self.replayed.is_set() else REPLAY_POLL_TIMEOUT_MS
            for raws in (await consumer.getmany(timeout_ms=timeout_ms)).values():
                for raw in raws:
                    self.on_record(record_of(raw, self.prefix))
