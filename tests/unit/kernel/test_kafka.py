"""The consume loop, without a broker."""

import asyncio
import gc
import weakref
from collections.abc import Collection, Sequence
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel.handler_result import Drop, HandlerResult
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.kafka.brokers import Brokers
from kernel.kafka.consumer import ConsumerWorker, parse_batch, records_of
from kernel.kafka.producer import BatchingProducer
from kernel.kafka.replay import TopicReplay
from kernel.processor import StreamProcessor
from kernel.table import ReplicatedTable


async def on_screened(batch: Sequence[MessageScreened]) -> Sequence[HandlerResult]:
    return [Drop("unread") for _ in batch]


async def send(_: Sequence[Outgoing]) -> None:
    raise NotImplementedError


def stream() -> "StreamProcessor[MessageScreened]":
    return StreamProcessor(
        MessageScreened, name="s", handler=on_screened, health=DependencyHealth(), send=send
    )


class SlowBroker:
    """A healthy broker whose replay takes long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.replay, self.consuming, self.heartbeats = (
            asyncio.Event(),
            asyncio.Event(),
            asyncio.Semaphore(0),
        )
        monkeypatch.setattr("kernel.kafka.HEARTBEAT_INTERVAL_S", 0)
        monkeypatch.setattr(Kafka, "create_topics", self.nothing)
        monkeypatch.setattr(TopicReplay, "run", lambda replay, *_: self.finish_replay(replay))
        monkeypatch.setattr(Kafka, "_consume_until_ended", self.consume)
        monkeypatch.setattr(BatchingProducer, "start", self.nothing)
        monkeypatch.setattr(BatchingProducer, "cluster", self.heartbeat)

    async def nothing(self) -> None:
        await asyncio.sleep(0)

    async def finish_replay(self, replay: TopicReplay) -> None:
        await self.replay.wait()
        for topic in replay._topics:
            topic.replayed.set()

    async def consume(self) -> None:
        self.consuming.set()
        await asyncio.Event().wait()

    async def heartbeat(self, _: Collection[str]) -> None:
        self.heartbeats.release()


async def test_consumption_starts_after_the_replays_while_the_heartbeat_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = SlowBroker(monkeypatch)
    kafka = Kafka(Brokers("nowhere:1"), DependencyHealth())
    ReplicatedTable(Tenant, kafka)
    kafka.consume(stream(), group="g")
    running = asyncio.create_task(kafka.run())
    for _ in range(20):
        await broker.heartbeats.acquire()
    assert not broker.consuming.is_set()

    broker.replay.set()
    await broker.consuming.wait()

    running.cancel()
    await asyncio.wait([running])


async def test_a_service_is_not_ready_until_its_consumers_have_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Heartbeats succeed meanwhile: other brokers are there."""
    joining, joined = asyncio.Event(), asyncio.Event()

    async def join(_: object) -> None:
        joining.set()
        await joined.wait()

    consume_until_ended = Kafka._consume_until_ended
    broker = SlowBroker(monkeypatch)
    monkeypatch.setattr(Kafka, "_consume_until_ended", consume_until_ended)
    monkeypatch.setattr("kernel.kafka.start", join)
    kafka = Kafka(Brokers("nowhere:1"), DependencyHealth())
    kafka.consume(stream(), group="g")
    running = asyncio.create_task(kafka.run())
    await joining.wait()
    assert kafka.health.unavailable >= {"consumers"}
    joined.set()
    while "consumers" in kafka.health.unavailable:
        await broker.heartbeats.acquire()
    running.cancel()
    await asyncio.wait([running])


class LostPosition:
    """The consumer of a worker whose partition is being rebalanced."""

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("topic", 0)}

    def highwater(self, _: TopicPartition) -> int:
        return 10

    async def position(self, _: TopicPartition) -> int:
        raise IllegalStateError("partition is not assigned")


async def test_bulk_mail_does_not_end_with_a_rebalance_of_express_mail() -> None:
    worker = ConsumerWorker(cast(Any, stream()), "group", ["screened.express"], "", print)
    worker.consumer = cast(AIOKafkaConsumer, LostPosition())
    assert not await worker.has_backlog()


async def test_a_batch_is_freed_without_the_garbage_collector() -> None:
    records = cast("tuple[ConsumerRecord, ...]", (object(),))
    message = await parse_batch(records)
    message.set_decoder(records_of)
    assert await message.decode() is records
    freed = weakref.ref(message)
    gc.disable()
    try:
        del message
        assert freed() is None
    finally:
        gc.enable()
