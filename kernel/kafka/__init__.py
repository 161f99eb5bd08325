"""Stream processors on Kafka. The only package that imports FastStream or aiokafka."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from functools import partial
from typing import cast

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker
from google.protobuf.message import Message

from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.options.v1.options_pb2 import Topic
from kernel.directory_mac import DirectoryMac
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.kafka.brokers import Brokers
from kernel.kafka.cancellation import finish_despite_cancel
from kernel.kafka.connections import patch_connections
from kernel.kafka.consumer import (
    FETCH_MAX_WAIT_MS,
    LONG_FETCH_MAX_WAIT_MS,
    ConsumerWorker,
    new_broker,
    new_consumer,
    start,
    subscriptions,
)
from kernel.kafka.coordination import patch_consumers
from kernel.kafka.groups import has_consumed, partitions_of, unassigned_partitions
from kernel.kafka.offsets import end_offsets
from kernel.kafka.producer import BatchingProducer
from kernel.kafka.reader import TopicReader, TopicSource, open_reader
from kernel.kafka.replay import TopicReplay
from kernel.kafka.topics import create_topics
from kernel.kafka.unread import UnreadPartitionCheck
from kernel.processor import M, Record, StreamProcessor
from kernel.retry import retry_while_unavailable
from kernel.settings import Settings
from kernel.tasks import run_concurrently, supervise
from kernel.topics import contract_of, is_directory

COMMIT_INTERVAL_S = 1.0
STOP_TIMEOUT_S = 5.0  # for a broker that does not respond
HEARTBEAT_INTERVAL_S = 5.0
UNASSIGNED_CHECKS = 3  # heartbeats; longer than a rebalance

CONSUMERS = "consumers"  # in DependencyHealth: they have not joined their groups

logger = logging.getLogger(__name__)
patch_connections()
patch_consumers()


class Kafka:
    """The broker of one service. Build it inside a running loop: aiokafka's clients bind to it.

    prefix: of every topic and group, so that several installations can share a broker.
    partitions_max, replicas: of topics that are created here.
    session_s: session timeout of a consumer; a silent one then loses its partitions.
    secret_keys: for the MACs of directory records; without them none is believed.
    """

    def __init__(  # noqa: PLR0913 - one per setting
        self,
        bootstrap_servers: str | Brokers,
        health: DependencyHealth,
        *,
        prefix: str = "",
        client: str = "obm",
        shutdown_timeout_s: float = 10.0,
        partitions_max: int = 12,
        replicas: int = 0,
        session_s: float = 10.0,
        secret_keys: Sequence[str] = (),
    ) -> None:
        self.health = health
        self.prefix = prefix
        self._brokers = Brokers.of(bootstrap_servers)
        self._partitions_max = partitions_max
        self._replicas = replicas
        self._client = client
        self._shutdown_timeout_s = shutdown_timeout_s
        self._session_ms = int(session_s * 1000)
        self._producer = BatchingProducer(self._brokers, client, prefix)
        self._directory = DirectoryMac(secret_keys)
        self._topics: dict[str, Topic] = {}
        self._streams: dict[str, StreamProcessor[Message]] = {}  # by group
        self._workers: list[ConsumerWorker] = []  # running
        self._ended = asyncio.get_running_loop().create_future()  # of the running workers
        self._consuming = True
        self._idle = asyncio.Event()  # no worker is running
        self._idle.set()
        self._replay = TopicReplay(prefix)

    @classmethod
    def from_settings(cls, settings: Settings, health: DependencyHealth, *, client: str) -> "Kafka":
        """The broker as configured. client: name of the service. Raises ConfigError."""
        return cls(
            Brokers.from_settings(settings),
            health,
            prefix=settings.kafka_topic_prefix,
            client=client,
            shutdown_timeout_s=settings.shutdown_timeout_s,
            partitions_max=settings.kafka_partitions_max,
            replicas=settings.kafka_replicas,
            session_s=settings.kafka_session_timeout_s,
            secret_keys=settings.secret_keys,
        )

    def declare(self, *events: type[Message]) -> None:
        """Register events that are consumed or emitted here, so that their topics are created."""
        for contract in (contract_of(event.DESCRIPTOR) for event in events):
            for name in contract.names:
                self._topics[self.prefix + name] = contract.topic

    def consume(self, stream: StreamProcessor[M], *, group: str) -> None:
        """Consume the events of a processor, express before bulk. Offsets are committed every
        second."""
        self.declare(*stream.events)
        self._streams[self.prefix + group] = cast(StreamProcessor[Message], stream)

    def replay(self, event: type[Message], on_record: Callable[[Record], None]) -> asyncio.Event:
        """Replay a compacted topic and keep reading; the event is set at the topic's first end."""
        self.declare(event)
        name = contract_of(event.DESCRIPTOR).topic.name
        return self._replay.add(name, self._directory.if_authentic(on_record))

    def reader_of(
        self, event: type[Message]
    ) -> Callable[[int], AbstractAsyncContextManager[TopicReader]]:
        """Opens a reader of the one partition of an event's topic, from an offset on."""
        self.declare(event)
        topic = self.prefix + contract_of(event.DESCRIPTOR).topic.name
        return partial(open_reader, TopicSource(self._consumer, topic, self.prefix))

    async def run(self) -> None:
        """Consume until cancelled or until a processor fails."""
        await retry_while_unavailable(self.create_topics, self.health)
        await retry_while_unavailable(self._producer.start, self.health)
        patient = partial(self._consumer, fetch_max_wait_ms=LONG_FETCH_MAX_WAIT_MS)
        replay = self._replay.run(patient, self.health)
        await run_concurrently(
            [replay, self._heartbeat(), self._commit_offsets(), self._consume()],
            cancel_timeout_s=self._shutdown_timeout_s + 2 * STOP_TIMEOUT_S,
        )

    async def _consume(self) -> None:
        """Consume until a worker fails; restart the workers if partitions stay unassigned. Starts
        after all replays, because before that a handler cannot distinguish missing entries from
        deleted ones."""
        self.health.unavailable.add(CONSUMERS)
        await self._replay.wait_replayed()
        while self._consuming:
            await self._consume_until_ended()
        await asyncio.Event().wait()

    async def stop_consuming(self) -> None:
        """Stop consuming and return when no record is being processed; publishing continues."""
        self._consuming = False
        if not self._ended.done():
            self._ended.set_result(None)
        await self._idle.wait()

    async def _consume_until_ended(self) -> None:
        self._ended = asyncio.get_running_loop().create_future()
        self._idle.clear()
        broker = new_broker(self._brokers, self._client, self._shutdown_timeout_s)
        workers = [one for group in self._streams for one in self._new_workers(broker, group)]
        try:
            self.health.unavailable.add(CONSUMERS)
            await retry_while_unavailable(partial(start, broker), self.health)
            self.health.unavailable.discard(CONSUMERS)
            self._workers = workers
            await self._ended
        finally:
            self._workers = []
            for worker in workers:
                await worker.commit()
            await self._stop(broker)
            for worker in workers:
                worker.ended = True
            self._idle.set()

    def _new_workers(self, broker: KafkaBroker, group: str) -> list[ConsumerWorker]:
        workers: list[ConsumerWorker] = []
        stream = self._streams[group]
        for own, names in subscriptions(group, stream.events).items():
            topics = [self.prefix + name for name in names]
            express = workers[-1] if workers else None
            worker = ConsumerWorker(stream, own, topics, self.prefix, self._fail, express)
            if any(map(is_directory, names)):
                worker.accepts = self._directory.is_authentic
            worker.subscribe(broker, session_ms=self._session_ms)
            workers.append(worker)
        return workers

    async def _stop(self, broker: KafkaBroker) -> None:
        """Drain: batches in progress may still publish. A consumer that hangs is abandoned."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._shutdown_timeout_s + STOP_TIMEOUT_S):
                await supervise(broker.stop())

    async def close(self) -> None:
        """Close the producer; call it after everything that publishes has ended."""
        await self._producer.close()

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Return when all in-sync replicas have acknowledged every record."""
        for record in records:
            if is_directory(record.topic):
                self._directory.sign(record)
        await self._producer.send(records)

    async def create_topics(self) -> None:
        step = create_topics(
            self._brokers,
            self._topics,
            partitions_max=self._partitions_max,
            replicas=self._replicas,
        )
        await finish_despite_cancel(step)

    async def end_offsets(self, *events: type[Message]) -> list[int]:
        """The end offset of the first partition of each event's topic; 0 if it is empty."""
        names = [self.prefix + contract_of(event.DESCRIPTOR).topic.name for event in events]
        await self._producer.start()
        cluster, client = await self._producer.cluster(names), self._producer.client
        if cluster is None or client is None:
            raise Unavailable("kafka")
        try:
            ends = await end_offsets(client, cluster, names)
        except KafkaError as error:
            raise Unavailable("kafka") from error
        return [ends[name] for name in names]

    async def has_consumed(self, group: str, event: type[Message], *, before: datetime) -> bool:
        """Whether a group that consumes this type of event alone has processed all that were
        published before a moment."""
        consumer = self._consumer()
        admin = AIOKafkaAdminClient(**self._brokers.options())
        try:
            groups = subscriptions(self.prefix + group, [event])
            names = [self.prefix + name for some in groups.values() for name in some]
            if (cluster := await self._producer.cluster(names)) is None:
                raise Unavailable("kafka")
            await finish_despite_cancel(consumer.start())
            await finish_despite_cancel(admin.start())
            for own, names in groups.items():
                topics = [self.prefix + name for name in names]
                if not await has_consumed(
                    consumer,
                    admin,
                    group=own,
                    partitions=partitions_of(topics, cluster),
                    before_ms=int(before.timestamp() * 1000),
                ):
                    return False
            return True
        except KafkaError as error:
            raise Unavailable("kafka") from error
        finally:
            await admin.close()
            await consumer.stop()

    def _consumer(self, *, fetch_max_wait_ms: int = FETCH_MAX_WAIT_MS) -> AIOKafkaConsumer:
        return new_consumer(self._brokers, self._client, fetch_max_wait_ms=fetch_max_wait_ms)

    def _fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    async def _heartbeat(self) -> None:
        """Check the broker, the topics and the assignments: a consumer reports none of these when
        they are lost."""
        checks = 0
        unread = UnreadPartitionCheck()
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)
            self._brokers.reload()
            cluster = await self._producer.cluster(self._topics)
            if cluster is None:
                self.health.unavailable.add("kafka")
                continue
            self.health.unavailable.discard("kafka")
            await self._create_missing_topics(cluster)
            idle = await self._unassigned_topics(cluster)
            checks = checks + 1 if idle else 0
            if checks >= UNASSIGNED_CHECKS:
                checks = 0
                self._restart_consumers("kafka.partitions.unassigned", idle)
            if topics := unread.check(self._workers, cluster):
                self._restart_consumers("kafka.partitions.unread", topics)

    def _restart_consumers(self, why: str, topics: Sequence[str]) -> None:
        if not self._ended.done():
            logger.warning(why, extra={"topics": topics})
            self._ended.set_result(None)

    async def _create_missing_topics(self, cluster: ClusterMetadata) -> None:
        if missing := self._topics.keys() - cluster.topics():
            logger.warning("kafka.topics.missing", extra={"topics": sorted(missing)})
            with suppress(Unavailable):
                await self.create_topics()

    async def _unassigned_topics(self, cluster: ClusterMetadata) -> list[str]:
        """Topics with a partition that no member of our groups is assigned. If a topic reappears
        during a rebalance, aiokafka may settle on an assignment without it."""
        client = self._producer.client
        if client is None:
            return []
        partitions = {
            worker.group: partitions_of(worker.names, cluster) for worker in self._workers
        }
        found = [
            await unassigned_partitions(client, group, expected)
            for group, expected in partitions.items()
        ]
        return sorted({tp.topic for some in found for tp in some})

    async def _commit_offsets(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_INTERVAL_S)
            for worker in self._workers:
                await worker.commit()
