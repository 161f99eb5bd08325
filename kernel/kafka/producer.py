"""Publishing: the one producer of a process, and the callers that wait for acknowledgements."""

import asyncio
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import metrics
from kernel.batch_pacer import EXPRESS_BUSY_PER_S, BatchPacer
from kernel.errors import Unavailable
from kernel.kafka.brokers import Brokers
from kernel.kafka.cancellation import finish_despite_cancel
from kernel.kafka.pending_sends import PartitionRecords, PendingSend, fill_batch
from kernel.kafka.topics import RECORD_BYTES_MAX, describe_topics
from kernel.tasks import cancel_and_wait
from kernel.topics import is_express

BATCH_BYTES_MAX = 512 * 1024
LINGER_S = 0.08  # a request costs broker and consumers as much as twenty records
REQUEST_TIMEOUT_S = 10.0
START_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0

Partition: TypeAlias = tuple[str, int]  # topic without the prefix, and number


class BatchingProducer:
    """The one producer of a process.

    At most one batch per partition is in flight, because concurrent `send_batch` calls for a
    partition wait for each other and run into a timeout that aiokafka counts twice. Records that
    arrive meanwhile form the next batch. Partitions do not wait for each other: one without a
    leader delays no other.
    """

    def __init__(self, bootstrap_servers: str | Brokers, client: str, prefix: str) -> None:
        self._brokers = Brokers.of(bootstrap_servers)
        self._client = client
        self._prefix = prefix
        self._producer: AIOKafkaProducer | None = None
        self._new_sends: list[PendingSend] = []
        self._waiting: defaultdict[Partition, deque[PartitionRecords]] = defaultdict(deque)
        self._in_flight: set[Partition] = set()
        self._sender: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._pace = BatchPacer(LINGER_S)
        self._express_pace = BatchPacer(LINGER_S, busy_per_s=EXPRESS_BUSY_PER_S)
        self._new_express = asyncio.Event()  # records that may not wait for the pace of the others
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Start the producer; concurrent callers wait for the first."""
        async with self._starting:
            if self._closed:
                raise Unavailable("kafka")
            if self._producer is None:
                self._producer = await self._new_producer()

    async def _new_producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._brokers.options(),
            client_id=self._client,
            enable_idempotence=True,
            acks="all",
            max_request_size=RECORD_BYTES_MAX,
            max_batch_size=BATCH_BYTES_MAX,
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        )
        try:
            # A broker that has just started may name no broker in its metadata. The start then asks
            # for a producer id for ever, and nothing is published meanwhile.
            async with asyncio.timeout(START_TIMEOUT_S):
                await finish_despite_cancel(producer.start())
        except (KafkaError, TimeoutError) as error:
            await producer.stop()
            raise Unavailable("kafka") from error
        except asyncio.CancelledError:
            await producer.stop()
            raise
        return producer

    async def close(self) -> None:
        """Close for good: later sends raise Unavailable."""
        self._closed = True
        if self._producer is not None:
            self._retire(self._producer)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                while self._tasks:  # a task that ends may start another
                    await asyncio.wait(self._tasks)
        self._fail_all(Unavailable("kafka"))
        for late in list(self._tasks):
            await cancel_and_wait(late)

    def _retire(self, producer: AIOKafkaProducer) -> None:
        """Replace a producer after an error, which breaks its sequence numbers. Its batches in
        flight to other partitions still finish."""
        if self._producer is producer:
            self._producer = None
            self._spawn(stop(producer))

    def _spawn(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def client(self) -> AIOKafkaClient | None:
        """The producer's client, for metadata requests; None without a producer."""
        return self._producer.client if self._producer else None

    async def cluster(self, topics: Collection[str]) -> ClusterMetadata | None:
        """Metadata of these topics, named with the prefix, as far as they exist; None if the
        broker is unavailable."""
        client = self.client
        if client is None:
            return None
        try:
            # If the client is closed meanwhile, the update never ends.
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                if not await client.force_metadata_update():
                    return None
                found = await describe_topics(client, topics)
        except (KafkaError, TimeoutError):
            return None
        cluster = ClusterMetadata()
        cluster.need_all_topic_metadata = True  # leave out what is missing, without a log entry
        cluster.update_metadata(found)
        return cluster

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Return when all records are acknowledged. Raises Unavailable if one is not, and
        ValueError for a record that the broker would reject as too large."""
        if not records:
            return
        for record in records:
            if (size := len(record.value)) > RECORD_BYTES_MAX:
                raise ValueError(f"{record.topic}: {size} bytes exceed {RECORD_BYTES_MAX}")
        sending = PendingSend(records)
        self._new_sends.append(sending)
        if any(is_express(record.topic) for record in records):
            self._new_express.set()
        self._wake()
        await sending.done

    def _wake(self) -> None:
        if self._sender is None and (self._new_sends or self._ready()):
            self._sender = self._spawn(self._drain())

    def _ready(self) -> list[Partition]:
        return [partition for partition in self._waiting if partition not in self._in_flight]

    async def _drain(self) -> None:
        try:
            while self._new_sends or self._ready():
                await self._wait_turn()
                try:
                    await self.start()
                    self._send_ready(self._producer)
                except Exception as error:
                    self._fail_all(error)
        finally:
            self._sender = None

    async def _wait_turn(self) -> None:
        """A few express records do not wait for the pace of all others, and take along what
        waits."""
        if (wait_s := self._pace.wait_s) <= 0:
            return
        if self._express_pace.is_busy:
            await self._pace.wait_turn()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                if not any(is_express(topic) for topic, _ in self._ready()):
                    await self._new_express.wait()
                await self._express_pace.wait_turn()

    def _fail_all(self, error: Exception) -> None:
        for sending in self._new_sends:
            sending.fail(error)
        for parts in self._waiting.values():
            for part in parts:
                part.sending.fail(error)
        self._new_sends = []
        self._waiting.clear()

    def _drop_failed(self) -> None:
        """Remove queued records of failed callers, which send them again; other partitions might
        block for long with them."""
        for partition, parts in list(self._waiting.items()):
            if left := [part for part in parts if not part.sending.done.done()]:
                self._waiting[partition] = deque(left)
            else:
                del self._waiting[partition]

    def _send_ready(self, producer: AIOKafkaProducer) -> None:
        """Send one batch to each partition that has records and no batch in flight."""
        new_sends, self._new_sends = self._new_sends, []
        self._new_express.clear()
        partitions: dict[str, int] = {}
        for sending in new_sends:
            self._assign_partitions(producer, sending, partitions)
        started = Counter[bool]()
        for partition in self._ready():
            builder = producer.create_batch()
            taken = fill_batch(builder, self._waiting[partition])
            if not self._waiting[partition]:
                del self._waiting[partition]
            if taken:
                started[is_express(partition[0])] += sum(taken.values())
                self._in_flight.add(partition)
                self._spawn(self._deliver(producer, partition, builder=builder, taken=taken))
        self._pace.start_batch(started.total())
        if express := started[True]:
            self._express_pace.start_batch(express)

    def _assign_partitions(
        self, producer: AIOKafkaProducer, sending: PendingSend, partitions: dict[str, int]
    ) -> None:
        """Queue a caller's records by partition; if a topic is unknown, load its metadata first.

        partitions: number of partitions per topic, shared by the callers of this pass.
        """
        topics = {record.topic for record in sending.records}
        for topic in topics - partitions.keys():
            if found := producer.client.cluster.partitions_for_topic(self._prefix + topic):
                partitions[topic] = len(found)
        if unknown := topics - partitions.keys():
            self._spawn(self._load_metadata(producer, unknown, sending))
            return
        for record in sending.records:
            topic = record.topic
            parts = self._waiting[topic, zlib.crc32(record.key) % partitions[topic]]
            if parts and parts[-1].sending is sending:
                parts[-1].records.append(record)
            else:
                parts.append(PartitionRecords(sending, [record]))

    async def _load_metadata(
        self, producer: AIOKafkaProducer, topics: Iterable[str], sending: PendingSend
    ) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                for topic in topics:
                    await producer.partitions_for(self._prefix + topic)
        except BaseException as cause:
            sending.fail(unavailable_error(cause))
            if not isinstance(cause, KafkaError | TimeoutError):
                raise
        else:
            self._new_sends.append(sending)
            self._wake()

    async def _deliver(
        self,
        producer: AIOKafkaProducer,
        partition: Partition,
        *,
        builder: Any,  # noqa: ANN401 - aiokafka has no types
        taken: Mapping[PendingSend, int],
    ) -> None:
        topic, number = partition
        error: BaseException | None = None
        try:
            await (await producer.send_batch(builder, self._prefix + topic, partition=number))
            metrics.published.inc(sum(taken.values()))
        except KafkaError as cause:
            error = unavailable_error(cause)
            self._retire(producer)
        except asyncio.CancelledError as cause:
            error = unavailable_error(cause)
            raise
        except Exception as cause:  # not the broker's error: the callers handle it
            error = cause
        finally:
            self._in_flight.discard(partition)
            for sending, records in taken.items():
                sending.acknowledge(records) if error is None else sending.fail(error)
            if error is not None:
                self._drop_failed()
            self._wake()


async def stop(producer: AIOKafkaProducer) -> None:
    with suppress(KafkaError):
        await producer.stop()


def unavailable_error(cause: BaseException) -> Unavailable:
    error = Unavailable("kafka")
    error.__cause__ = cause
    return error
