"""The stream on Kafka. The only module that imports FastStream or aiokafka."""

import asyncio
import logging
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from google.protobuf.message import Message

from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.options.v1.options_pb2 import Topic
from kernel import clock, metrics
from kernel.backoff import Health, patiently
from kernel.errors import Unavailable
from kernel.stream import M, Record, Stream
from kernel.topics import PARKED, contract_of

BATCH_RECORDS_MAX = 500
POLL_TIMEOUT_MS = 20  # FastStream waits twice this on an empty poll
POLL_INTERVAL_MAX_MS = 2**31 - 1  # partitions are kept while we wait for a database
RECORD_BYTES_MAX = 2 * 1024 * 1024  # twice the default: parking adds headers
BATCH_BYTES_MAX = 512 * 1024
PARKED_RETENTION_MS = str(30 * 24 * 3600 * 1000)
COMMIT_EVERY_S = 1.0
HEARTBEAT_EVERY_S = 5.0
BULK_SHARE = 10  # while express has a backlog, every tenth batch is bulk's

logger = logging.getLogger(__name__)


class Kafka:
    """The broker of one service. Build it inside a running loop: aiokafka's clients bind to it.

    prefix: of every topic and group, so that several installations can share a broker.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        health: Health,
        *,
        prefix: str = "",
        client: str = "obm",
        drain_s: float = 10.0,
    ) -> None:
        self.health = health
        self.prefix = prefix
        self._bootstrap_servers = bootstrap_servers
        self._client = client
        self._broker = KafkaBroker(
            bootstrap_servers,
            client_id=client,
            consumer_only=True,
            apply_types=False,
            allow_auto_create_topics=False,
            graceful_timeout=drain_s,
            logger=logger,
            log_level=logging.DEBUG,
        )
        self._emitter = _Emitter(bootstrap_servers, client, prefix)
        self._topics: dict[str, Topic] = {}
        self._readers: list[_Reader] = []
        self._followers: list[partial[Any]] = []
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def declare(self, *events: type[Message]) -> None:
        """Name the events that are consumed or emitted here, so that their topics exist."""
        for contract in (contract_of(event.DESCRIPTOR) for event in events):
            for name in contract.names:
                self._topics[self.prefix + name] = contract.topic

    def consume(self, stream: Stream[M], *, group: str) -> None:
        """Each event of the stream, the first class first. Offsets follow once a second."""
        self.declare(*stream.events)
        reader = _Reader(cast(Stream[Message], stream), self.prefix, self._fail)
        self._readers.append(reader)
        subscribe = self._broker.subscriber(
            *(self.prefix + name for name in reader.topics),
            group_id=self.prefix + group,
            batch=True,
            max_records=BATCH_RECORDS_MAX,
            batch_timeout_ms=POLL_TIMEOUT_MS,
            max_poll_interval_ms=POLL_INTERVAL_MAX_MS,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            decoder=keep_raw,
            listener=reader,
        )
        subscribe(reader.on_batch)

    def follow(self, event: type[Message], on_record: Callable[[Record], None]) -> asyncio.Event:
        """Replay a compacted topic and go on reading; the event is set at its first end."""
        self.declare(event)
        replayed = asyncio.Event()
        name = contract_of(event.DESCRIPTOR).topic.name
        self._followers.append(partial(self._follow, self.prefix + name, on_record, replayed))
        return replayed

    async def run(self) -> None:
        """Consume until cancelled, or until something fails that nobody can settle."""
        await patiently(self.create_topics, self.health)
        await patiently(self._emitter.start, self.health)
        async with asyncio.TaskGroup() as group:
            for follower in self._followers:
                group.create_task(follower())
            group.create_task(self._heartbeat())
            group.create_task(self._commit_offsets())
            group.create_task(self._consume())

    async def _consume(self) -> None:
        await patiently(self._start_broker, self.health)
        try:
            await self._failed
        finally:
            for reader in self._readers:
                await reader.commit()
            await self._broker.stop()  # drains: what is being handled may still publish

    async def _start_broker(self) -> None:
        try:
            await self._broker.start()
        except KafkaError as error:
            raise Unavailable("kafka") from error

    async def close(self) -> None:
        """After everything that publishes has ended."""
        await self._emitter.stop()

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Return when every record is acknowledged by all replicas in sync."""
        await self._emitter.send(records)

    async def create_topics(self) -> None:
        await create_topics(self._bootstrap_servers, self._topics)

    async def end_of(self, event: type[Message]) -> int:
        """The end offset of the first partition of an event's topic; 0 when it is empty."""
        name = self.prefix + contract_of(event.DESCRIPTOR).topic.name
        consumer = self._consumer()
        try:
            await consumer.start()
            ends = await consumer.end_offsets([TopicPartition(name, 0)])
        except KafkaError as error:
            raise Unavailable("kafka") from error
        finally:
            await consumer.stop()
        return sum(ends.values())

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            client_id=self._client,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    async def _heartbeat(self) -> None:
        """A consumer never says by itself that its broker is away, nor that its topics are."""
        while True:
            missing = await self._emitter.missing(self._topics)
            if missing is None:
                self.health.away.add("kafka")
            else:
                self.health.away.discard("kafka")
            if missing:
                logger.warning("topics are missing and are made: %s", ", ".join(sorted(missing)))
                with suppress(Unavailable):
                    await self.create_topics()
            await asyncio.sleep(HEARTBEAT_EVERY_S)

    async def _commit_offsets(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            for reader in self._readers:
                await reader.commit()

    async def _follow(
        self, topic: str, on_record: Callable[[Record], None], replayed: asyncio.Event
    ) -> None:
        async def attempt() -> None:
            consumer = self._consumer()
            try:
                await consumer.start()
                consumer.assign([TopicPartition(topic, 0)])
                await self._replay(
                    consumer, TopicPartition(topic, 0), on_record=on_record, replayed=replayed
                )
            except KafkaError as error:
                raise Unavailable("kafka") from error
            finally:
                await consumer.stop()

        await patiently(attempt, self.health)

    async def _replay(
        self,
        consumer: AIOKafkaConsumer,
        tp: TopicPartition,
        *,
        on_record: Callable[[Record], None],
        replayed: asyncio.Event,
    ) -> None:
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        while True:
            for raws in (await consumer.getmany(timeout_ms=200)).values():
                for raw in raws:
                    on_record(record_of(raw, self.prefix))
            if not replayed.is_set() and await consumer.position(tp) >= end:
                replayed.set()


class _Pending(NamedTuple):
    records: Sequence[Outgoing]
    done: asyncio.Future[None]


class _Emitter:
    """The one producer of a process, and the one task that uses it.

    One, because concurrent `send_batch` calls for a partition wait for each other and run into a
    timeout that aiokafka counts twice. What is handed over while a group is on its way is the
    next group, and travels as one record batch per partition.
    """

    def __init__(self, bootstrap_servers: str, client: str, prefix: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._client = client
        self._prefix = prefix
        self._producer: AIOKafkaProducer | None = None
        self._pending: list[_Pending] = []
        self._sender: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._producer is not None:
            return
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            client_id=self._client,
            enable_idempotence=True,
            acks="all",
            max_request_size=RECORD_BYTES_MAX,
            max_batch_size=BATCH_BYTES_MAX,
            request_timeout_ms=10_000,
        )
        try:
            await producer.start()
        except KafkaError as error:
            await producer.stop()
            raise Unavailable("kafka") from error
        self._producer = producer

    async def stop(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(producer.stop(), 5)

    async def missing(self, topics: Iterable[str]) -> set[str] | None:
        """Those of the topics that do not exist; None when the broker is away."""
        if self._producer is None:
            return None
        client = self._producer.client
        try:
            if not await client.force_metadata_update():
                return None
            known = (await client.fetch_all_metadata()).topics()
        except KafkaError:
            return None
        return set(topics) - set(known)

    async def send(self, records: Sequence[Outgoing]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(records, done))
        if self._sender is None:
            self._sender = asyncio.create_task(self._drain())
        await done

    async def _drain(self) -> None:
        try:
            while self._pending:
                group, self._pending = self._pending, []
                await self._settle(group)
        finally:
            self._sender = None

    async def _settle(self, group: list[_Pending]) -> None:
        error: BaseException | None = None
        try:
            await self.start()
            await self._send_all([record for pending in group for record in pending.records])
        except (KafkaError, Unavailable) as cause:
            error = Unavailable("kafka")
            error.__cause__ = cause
            await self.stop()  # its sequence numbers are spoilt, and a new one is cheap
        for pending in group:
            if pending.done.done():
                continue
            if error is None:
                pending.done.set_result(None)
            else:
                pending.done.set_exception(error)

    async def _send_all(self, records: Sequence[Outgoing]) -> None:
        producer = self._started()
        by_partition: dict[tuple[str, int], list[Outgoing]] = defaultdict(list)
        for record in records:
            topic = self._prefix + record.topic
            partitions = await self._partitions(topic)
            by_partition[topic, zlib.crc32(record.key) % partitions].append(record)
        while by_partition:
            acks = []
            for (topic, partition), waiting in list(by_partition.items()):
                builder = producer.create_batch()
                taken = _fill(builder, waiting)
                acks.append(await producer.send_batch(builder, topic, partition=partition))
                del waiting[:taken]
                if not waiting:
                    del by_partition[topic, partition]
            await asyncio.gather(*acks)
        metrics.published.inc(len(records))

    async def _partitions(self, topic: str) -> int:
        known = self._started().client.cluster.partitions_for_topic(topic)
        return len(known or await self._started().partitions_for(topic))

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise Unavailable("kafka")
        return self._producer


def _fill(builder: Any, waiting: Sequence[Outgoing]) -> int:  # noqa: ANN401 - aiokafka has no types
    """Append until the batch is full; how many went in."""
    now_ms = clock.now_ms()
    for count, record in enumerate(waiting):
        appended = builder.append(
            timestamp=now_ms,
            key=record.key if record.HasField("key") else None,
            value=record.value if record.HasField("value") else None,
            headers=list(record.headers.items()),
        )
        if appended is None and count:
            return count
        if appended is None:
            raise ValueError(f"{record.topic}: a record of {len(record.value)} bytes is too large")
    return len(waiting)


@dataclass
class _Reader(ConsumerRebalanceListener):  # type: ignore[misc]
    """What one consumer has settled, and whose turn it is."""

    stream: Stream[Message]
    prefix: str
    fail: Callable[[BaseException], None]
    topics: list[str] = field(init=False)
    consumer: AIOKafkaConsumer | None = None
    batches: int = 0
    failed: bool = False
    settled: dict[TopicPartition, int] = field(default_factory=dict)
    handled_at_s: float = 0.0

    def __post_init__(self) -> None:
        self.topics = [
            name for event in self.stream.events for name in contract_of(event.DESCRIPTOR).names
        ]

    async def on_batch(self, batch: KafkaMessage) -> None:
        # FastStream swallows what a handler raises, SystemExit too, and polls on; a later
        # commit would then skip the batch. So remember the error, and touch nothing more.
        if self.failed:
            return
        raws = cast(Sequence[ConsumerRecord], batch.raw_message)
        self.consumer = cast(AIOKafkaConsumer, batch.consumer)
        try:
            await self.stream.handle([record_of(raw, self.prefix) for raw in raws])
            self.settled.update(next_offsets(raws))
            await self._take_turns(self.consumer)
        except Exception as error:
            self.failed = True
            self.fail(error)
        if rest_s := self.stream.gather_s - (clock.monotonic_s() - self.handled_at_s):
            await asyncio.sleep(max(0.0, min(rest_s, self.stream.gather_s)))
        self.handled_at_s = clock.monotonic_s()

    async def _take_turns(self, consumer: AIOKafkaConsumer) -> None:
        """Express first, and bulk a tenth: only who surely has records may make others wait.

        A paused partition is resumed after the next batch, and that batch is certain to come:
        the partitions that are not paused are known to have records.
        """
        classes = [self.prefix + name for name in self.topics]
        if len(classes) < 2 or len(self.stream.events) > 1:
            return
        assigned = consumer.assignment()
        express = [tp for tp in assigned if tp.topic == classes[0]]
        bulk = [tp for tp in assigned if tp.topic != classes[0]]
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
        """Whether records are known to wait: the end is known once a partition was fetched."""
        for tp in partitions:
            end = consumer.highwater(tp)
            if end is not None and end > await consumer.position(tp):
                return True
        return False

    async def commit(self) -> None:
        """Exactly what was settled, never the consumer's position."""
        if self.consumer is None or not self.settled:
            return
        mine = self.consumer.assignment()
        offsets = {tp: offset for tp, offset in self.settled.items() if tp in mine}
        metrics.lag.labels(self.stream.name).set(self._lag(self.consumer, offsets))
        try:
            if offsets:
                await asyncio.wait_for(self.consumer.commit(offsets), 5)
        except (CommitFailedError, IllegalStateError):
            logger.warning("partitions moved during the batch; their new owner repeats it")
        except (KafkaError, TimeoutError) as error:
            logger.warning("offsets wait for kafka: %r", error)

    @staticmethod
    def _lag(consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> int:
        return sum(max(0, (consumer.highwater(tp) or 0) - at) for tp, at in offsets.items())

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self.commit()
        for tp in revoked:
            self.settled.pop(tp, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.settled.clear()  # where they begin is what the group has committed


async def create_topics(bootstrap_servers: str, topics: Mapping[str, Topic]) -> None:
    """Make those that are missing, and where their records are parked."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        brokers = len((await admin.describe_cluster())["brokers"])
        existing = set(await admin.list_topics())
        new = [new for name, topic in topics.items() for new in new_topics(name, topic, brokers)]
        response = await admin.create_topics([topic for topic in new if topic.name not in existing])
        for name, code, *_ in response.topic_errors:  # aiokafka raises nothing here
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(name)
    except KafkaError as error:
        raise Unavailable("kafka") from error
    finally:
        await admin.close()


def new_topics(name: str, topic: Topic, brokers: int) -> list[NewTopic]:
    """The topic of a contract, and the one where its records are parked."""
    replicas = min(3, brokers)
    durable = {
        "min.insync.replicas": str(max(1, replicas - 1)),
        "unclean.leader.election.enable": "false",
    }
    kept = {"retention.ms": str(topic.retention.ToMilliseconds())}
    if topic.compacted:
        kept = {"cleanup.policy": "compact"}
    parked = {"retention.ms": PARKED_RETENTION_MS, "max.message.bytes": str(RECORD_BYTES_MAX)}
    return [
        NewTopic(name, topic.partitions, replicas, topic_configs=durable | kept),
        NewTopic(name + PARKED, 1, replicas, topic_configs=durable | parked),
    ]


async def keep_raw(batch: KafkaMessage) -> KafkaMessage:
    """Skip FastStream's guessing at JSON, record by record; the stream decodes."""
    return batch


def next_offsets(raws: Iterable[ConsumerRecord]) -> dict[TopicPartition, int]:
    """Exactly the records of this batch, never the consumer's position."""
    return {TopicPartition(raw.topic, raw.partition): raw.offset + 1 for raw in raws}


def record_of(raw: ConsumerRecord, prefix: str = "") -> Record:
    topic = raw.topic.removeprefix(prefix)
    return Record(topic, raw.partition, raw.offset, raw.key, raw.value, raw.headers)
