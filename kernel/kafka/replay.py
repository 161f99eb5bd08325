"""Compacted topics: read from their beginning, and on."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from kernel.backoff import Health, patiently
from kernel.errors import Unavailable
from kernel.failpoint import waitpoint
from kernel.kafka.reader import record_of
from kernel.kafka.whole import whole
from kernel.stream import Record


@dataclass(frozen=True, slots=True)
class Followed:
    """A topic of one partition. replayed: set at its first end. prefix: of the topic's name."""

    topic: str
    prefix: str
    on_record: Callable[[Record], None]
    replayed: asyncio.Event

    async def follow(self, new_consumer: Callable[[], AIOKafkaConsumer], health: Health) -> None:
        """Until cancelled; from the beginning again when the broker was away."""

        async def attempt() -> None:
            consumer = new_consumer()
            try:
                await whole(consumer.start())
                await waitpoint("kafka.replay")
                await self._replay(consumer)
            except KafkaError as error:
                raise Unavailable("kafka") from error
            finally:
                await consumer.stop()

        await patiently(attempt, health)

    async def _replay(self, consumer: AIOKafkaConsumer) -> None:
        tp = TopicPartition(self.topic, 0)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        while True:
            for raws in (await consumer.getmany(timeout_ms=200)).values():
                for raw in raws:
                    self.on_record(record_of(raw, self.prefix))
            if not self.replayed.is_set() and await consumer.position(tp) >= end:
                self.replayed.set()
