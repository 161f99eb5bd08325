"""The loop on Kafka, without one."""

import asyncio
from collections.abc import Sequence

import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel.handler_result import Drop, HandlerResult
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.kafka.producer import BatchingProducer
from kernel.kafka.replay import ReplayedTopic
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


class Slow:
    """A broker that takes its time to replay, and is otherwise well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.replay, self.reads, self.looks = asyncio.Event(), asyncio.Event(), asyncio.Semaphore(0)
        monkeypatch.setattr("kernel.kafka.HEARTBEAT_INTERVAL_S", 0)
        monkeypatch.setattr(Kafka, "create_topics", self.nothing)
        monkeypatch.setattr(ReplayedTopic, "run", lambda topic, *_: self.follow(topic.replayed))
        monkeypatch.setattr(Kafka, "_consume_until_ended", self.read)
        monkeypatch.setattr(BatchingProducer, "start", self.nothing)
        monkeypatch.setattr(BatchingProducer, "cluster", self.look)

    async def nothing(self) -> None:
        await asyncio.sleep(0)

    async def follow(self, replayed: asyncio.Event) -> None:
        await self.replay.wait()
        replayed.set()

    async def read(self) -> None:
        self.reads.set()
        await asyncio.Event().wait()

    async def look(self) -> None:
        self.looks.release()


def test_no_stream_starts_before_the_tables_are_replayed_and_the_broker_is_watched_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        slow = Slow(monkeypatch)
        kafka = Kafka("nowhere:1", DependencyHealth())
        ReplicatedTable(Tenant, kafka)
        kafka.consume(stream(), group="g")
        running = asyncio.create_task(kafka.run())
        for _ in range(20):
            await slow.looks.acquire()
        assert not slow.reads.is_set()

        slow.replay.set()
        await slow.reads.wait()

        running.cancel()
        await asyncio.wait([running])

    asyncio.run(story())
