"""Consuming: which consumers a stream has, and the processed offsets of each."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import cast

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER
from google.protobuf.message import Message

from kernel import clock, metrics
from kernel.batch_pacer import BUSY_PER_S, EXPRESS_BUSY_PER_S, BatchPacer
from kernel.errors import Unavailable
from kernel.kafka.brokers import Brokers
from kernel.kafka.cancellation import finish_despite_cancel
from kernel.processor import Record, StreamProcessor
from kernel.topics import contract_of, is_express

BATCH_RECORDS_MAX = 500
POLL_TIMEOUT_MS = 1_000  # records end a poll at once
FETCH_MAX_WAIT_MS = 500
LONG_FETCH_MAX_WAIT_MS = 5_000  # of bulk mail, and of tables, whose partitions never change
WAKE_MS = 1_000  # a consumer looks for what it might have missed, by default five times a second
POLL_INTERVAL_MAX_MS = 2**31 - 1  # keep the partitions while waiting for a database
COMMIT_TIMEOUT_S = 5.0
BULK_SHARE = 10  # while express has a backlog, every tenth batch is bulk's
GIVE_WAY_MAX_S = 1.0
UNREAD_MS = 30_000  # several times as long as any request for records may wait
LONG_BATCH_S = 5.0
NO_LEADER = (None, -1)

logger = logging.getLogger(__name__)


def subscriptions(group: str, events: Sequence[type[Message]]) -> dict[str, list[str]]:
    """Group → topics, express first. If a stream has one type of event, each of its priorities has
    a consumer of its own: a fetch that lingers for bulk would hold up express."""
    contracts = [contract_of(event.DESCRIPTOR) for event in events]
    if len(contracts) == 1 and (priorities := contracts[0].topic.priorities):
        names = zip(priorities, contracts[0].names, strict=True)
        return {f"{group}-{priority}": [name] for priority, name in names}
    return {group: [name for contract in contracts for name in contract.names]}


@dataclass
class ConsumerWorker(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs a processor on the batches of one consumer, and tracks processed offsets. group, names:
    with the prefix. express: the worker that goes first."""

    stream: StreamProcessor[Message]
    group: str
    names: Sequence[str]  # of the topics
    prefix: str
    fail: Callable[[BaseException], None]
    express: "ConsumerWorker | None" = None
    accepts: Callable[[Record], bool] | None = None  # None: all records
    consumer: AIOKafkaConsumer | None = None
    batches: int = 0
    batch_done: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    batch_began_s: float | None = None
    processed: dict[TopicPartition, int] = field(default_factory=dict)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    pace: BatchPacer = field(init=False)
    find_consumer: Callable[[], AIOKafkaConsumer | None] = lambda: None

    def __post_init__(self) -> None:
        express = len(self.names) == 1 and is_express(self.names[0])
        busy_per_s = EXPRESS_BUSY_PER_S if express else BUSY_PER_S
        self.pace = BatchPacer(self.stream.linger_s, busy_per_s=busy_per_s)

    def subscribe(self, broker: KafkaBroker, *, session_ms: int) -> None:
        """Receive the batches of a consumer of this broker."""
        subscriber = broker.subscriber(
            *self.names,
            group_id=self.group,
            batch=True,
            fetch_max_wait_ms=LONG_FETCH_MAX_WAIT_MS if self.express else FETCH_MAX_WAIT_MS,
            consumer_timeout_ms=WAKE_MS,
            max_poll_interval_ms=POLL_INTERVAL_MAX_MS,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 4,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            parser=parse_batch,
            decoder=records_of,
            listener=self,
        )

        async def on_batch(records: tuple[ConsumerRecord, ...]) -> None:
            await self.on_batch(records, cast(AIOKafkaConsumer, subscriber.consumer))

        subscriber(on_batch)
        subscriber.get_msg = next_batch  # type: ignore[method-assign]
        self.find_consumer = lambda: subscriber.consumer

    async def on_batch(self, raws: Sequence[ConsumerRecord], consumer: AIOKafkaConsumer) -> None:
        # FastStream swallows every error of a handler, even SystemExit, and polls again; a later
        # commit would then skip the batch. So record the error, and process nothing more.
        if self.ended:
            return
        self.consumer = consumer
        self.batch_began_s = clock.monotonic_s()
        try:
            await self._process(raws, consumer)
        finally:
            self.batch_began_s = None

    async def _process(self, raws: Sequence[ConsumerRecord], consumer: AIOKafkaConsumer) -> None:
        self.pace.start_batch(len(raws))
        lingers = self.stream.linger_s > 0 and len(raws) < BATCH_RECORDS_MAX
        if lingers:  # before the first await: a fetch now would return with the next single record,
            # while a fetch after the pause returns all that arrived
            consumer.pause(*consumer.assignment())
        try:
            records = [record_of(raw, self.prefix) for raw in raws]
            if self.accepts is not None:
                records = list(filter(self.accepts, records))
            await self.stream.handle(records)
            self.processed.update(next_offsets(raws))
            self.batches += 1
            self.batch_done.set()
            if lingers:
                await self.pace.wait_turn()
                consumer.resume(*consumer.assignment())
            if self.express is not None:
                await self._give_way(self.express)
        except Exception as error:
            self.ended = True
            self.fail(error)

    async def _give_way(self, express: "ConsumerWorker") -> None:
        """Wait while express has a backlog, for nine of its batches. If it stands still, bulk does
        not."""
        last = express.batches + BULK_SHARE - 1
        while express.batches < last and await express.has_backlog():
            express.batch_done.clear()
            try:
                async with asyncio.timeout(GIVE_WAY_MAX_S):
                    await express.batch_done.wait()
            except TimeoutError:
                return

    async def has_backlog(self) -> bool:
        """Whether records are known to be waiting; the end is known after the first fetch."""
        if self.consumer is None or self.ended:
            return False
        # Another worker asks: a position that is lost in a rebalance must not hold it up.
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(GIVE_WAY_MAX_S):
                for tp in self.consumer.assignment():
                    end = self.consumer.highwater(tp)
                    if end is not None and end > await self.consumer.position(tp):
                        return True
        return False

    def unread(self, cluster: ClusterMetadata, *, now_ms: int) -> set[TopicPartition]:
        """The assigned partitions whose leader has not answered for long, not even that there is
        nothing new. Empty while a batch takes long: nothing is fetched beside it."""
        consumer = self.find_consumer()
        if consumer is None or self.ended or self._is_in_long_batch():
            return set()
        oldest_ms = now_ms - UNREAD_MS
        return {
            tp
            for tp in consumer.assignment() - consumer._fetcher._records.keys()
            if (consumer.last_poll_timestamp(tp) or 0) < oldest_ms
            and cluster.leader_for_partition(tp) not in NO_LEADER
        }

    def _is_in_long_batch(self) -> bool:
        began_s = self.batch_began_s
        return began_s is not None and clock.monotonic_s() - began_s > LONG_BATCH_S

    async def commit(self) -> None:
        """Commit the processed offsets, never the consumer's position, and those alone that have
        changed."""
        if self.consumer is None or not self.processed:
            return
        assigned = self.consumer.assignment()
        offsets = {tp: offset for tp, offset in self.processed.items() if tp in assigned}
        metrics.lag.labels(self.group.removeprefix(self.prefix)).set(
            self._lag(self.consumer, offsets)
        )
        changed = dict(offsets.items() - self.committed.items())
        try:
            if changed:
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    await self.consumer.commit(changed)
                self.committed.update(changed)
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
            self.committed.pop(tp, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.processed.clear()  # they start at the group's committed offsets
        self.committed.clear()


async def next_batch(consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
    """As FastStream's, which sleeps after each empty poll, so that its polls must be short: dozens
    in a second where nothing happens."""
    found = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=BATCH_RECORDS_MAX)
    return tuple(chain.from_iterable(found.values()))


def new_broker(brokers: Brokers, client: str, graceful_s: float) -> KafkaBroker:
    """A broker of FastStream, for the consumers of a process."""
    return KafkaBroker(
        brokers.bootstrap_servers.split(","),  # FastStream takes a text for one server
        security=brokers.security,
        client_id=client,
        consumer_only=True,
        apply_types=False,
        allow_auto_create_topics=False,
        graceful_timeout=graceful_s,
        logger=logging.getLogger("faststream"),
        log_level=logging.DEBUG,
    )


def new_consumer(brokers: Brokers, client: str, *, fetch_max_wait_ms: int) -> AIOKafkaConsumer:
    """A consumer without a group. Whatever else it asks a broker for waits behind a request for
    records."""
    return AIOKafkaConsumer(
        **brokers.options(),
        client_id=client,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=fetch_max_wait_ms,
        consumer_timeout_ms=WAKE_MS,
    )


async def start(broker: KafkaBroker) -> None:
    """Start its consumers. Raises Unavailable."""
    try:
        await finish_despite_cancel(broker.start())
    except KafkaError as error:
        raise Unavailable("kafka") from error


async def parse_batch(records: tuple[ConsumerRecord, ...]) -> KafkaMessage:
    """Without a look at the records: FastStream's parser decodes all headers, and drops a batch
    with one that is not text."""
    return KafkaMessage(raw_message=records, body=b"", correlation_id="-", consumer=FAKE_CONSUMER)


async def records_of(batch: KafkaMessage) -> tuple[ConsumerRecord, ...]:
    """As they are: the processor decodes. A message keeps what this returns, so returning the
    message itself would leave it, with all its records, to the garbage collector."""
    return cast("tuple[ConsumerRecord, ...]", batch.raw_message)


def next_offsets(raws: Iterable[ConsumerRecord]) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition in this batch."""
    return {TopicPartition(raw.topic, raw.partition): raw.offset + 1 for raw in raws}


def record_of(raw: ConsumerRecord, prefix: str = "") -> Record:
    topic = raw.topic.removeprefix(prefix)
    return Record(topic, raw.partition, raw.offset, raw.key, raw.value, raw.headers)
