"""Read a topic of one partition from an offset on, outside of consumer groups: whoever reads it
stores the offset with what follows from the records."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from kernel.errors import Unavailable
from kernel.kafka.cancellation import finish_despite_cancel
from kernel.kafka.consumer import record_of
from kernel.processor import Record

POLL_MS = 200
RECORDS_MAX = 500


class TopicSource(NamedTuple):
    """A topic, as it is named at the broker, and who reads it. prefix: of its name."""

    new_consumer: Callable[[], AIOKafkaConsumer]
    topic: str
    prefix: str


class TopicReader:
    def __init__(self, consumer: AIOKafkaConsumer, place: TopicSource) -> None:
        self._consumer = consumer
        self._partition = TopicPartition(place.topic, 0)
        self._prefix = place.prefix

    async def read(self) -> Sequence[Record]:
        """The next records; none if there are none for a moment. Raises Unavailable."""
        try:
            found = await self._consumer.getmany(
                self._partition, timeout_ms=POLL_MS, max_records=RECORDS_MAX
            )
        except KafkaError as error:
            raise Unavailable("kafka") from error
        return [record_of(raw, self._prefix) for raws in found.values() for raw in raws]

    async def start(self, offset: int) -> None:
        """Records before the first one that is kept are gone."""
        self._consumer.assign([self._partition])
        first = (await self._consumer.beginning_offsets([self._partition]))[self._partition]
        self._consumer.seek(self._partition, max(first, offset))


@asynccontextmanager
async def open_reader(place: TopicSource, offset: int) -> AsyncIterator[TopicReader]:
    """Raises Unavailable."""
    consumer = place.new_consumer()
    reader = TopicReader(consumer, place)
    try:
        await finish_despite_cancel(consumer.start())
        await reader.start(offset)
        yield reader
    except KafkaError as error:
        raise Unavailable("kafka") from error
    finally:
        await consumer.stop()
