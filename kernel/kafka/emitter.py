"""Publishing: the one producer of a process, and the one task that uses it."""

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock, metrics
from kernel.errors import Unavailable
from kernel.kafka.topics import RECORD_BYTES_MAX
from kernel.kafka.whole import whole
from kernel.pace import Pace

BATCH_BYTES_MAX = 512 * 1024
WINDOW_S = 0.08  # a request costs broker and readers as much as twenty records do


class Pending(NamedTuple):
    records: Sequence[Outgoing]
    done: asyncio.Future[None]


class Emitter:
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
        self._pending: list[Pending] = []
        self._sender: asyncio.Task[None] | None = None
        self._closed = False
        self._pace = Pace(WINDOW_S)
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """By whoever comes first; the others wait for it."""
        async with self._starting:
            if self._closed:
                raise Unavailable("kafka")
            if self._producer is None:
                self._producer = await self._new_producer()

    async def _new_producer(self) -> AIOKafkaProducer:
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
            await whole(producer.start())
        except KafkaError as error:
            await producer.stop()
            raise Unavailable("kafka") from error
        except asyncio.CancelledError:
            await producer.stop()
            raise
        return producer

    async def close(self) -> None:
        """For good: who publishes later finds nobody."""
        self._closed = True
        await self.stop()

    async def stop(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(producer.stop(), 5)

    @property
    def client(self) -> AIOKafkaClient | None:
        """Of the producer, for questions; None when there is none."""
        return self._producer.client if self._producer else None

    async def cluster(self) -> ClusterMetadata | None:
        """All topics there are; None when the broker is away."""
        client = self.client
        if client is None:
            return None
        try:
            if not await client.force_metadata_update():
                return None
            return await client.fetch_all_metadata()
        except KafkaError:
            return None

    async def send(self, records: Sequence[Outgoing]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append(Pending(records, done))
        if self._sender is None:
            self._sender = asyncio.create_task(self._drain())
        await done

    async def _drain(self) -> None:
        try:
            while self._pending:
                await self._pace.turn()
                group, self._pending = self._pending, []
                self._pace.began(sum(len(pending.records) for pending in group))
                await self._settle(group)
        finally:
            self._sender = None

    async def _settle(self, group: list[Pending]) -> None:
        error: BaseException | None = None
        try:
            await self.start()
            await self._send_all([record for pending in group for record in pending.records])
        except (KafkaError, Unavailable) as cause:
            error = Unavailable("kafka")
            error.__cause__ = cause
            await self.stop()  # its sequence numbers are spoilt, and a new one is cheap
        except Exception as cause:  # a record that cannot be sent is its caller's to park
            error = cause
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
                taken = fill(builder, waiting)
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


def fill(builder: Any, waiting: Sequence[Outgoing]) -> int:  # noqa: ANN401 - aiokafka has no types
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
