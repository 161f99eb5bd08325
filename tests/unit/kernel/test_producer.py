"""Partitions and callers of the producer are independent of each other. With a fake producer."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from types import SimpleNamespace
from zlib import crc32

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, LeaderNotAvailableError
from aiokafka.producer.message_accumulator import BatchBuilder

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel.errors import Unavailable
from kernel.kafka import cancellation
from kernel.kafka import producer as producer_module
from kernel.kafka.brokers import Brokers
from kernel.kafka.producer import BATCH_BYTES_MAX, BatchingProducer
from kernel.kafka.topics import RECORD_BYTES_MAX

PARTITIONS = 4
TOPIC, MISSING = "p.records", "p.missing"


class FakeProducer:
    """Accepts batches; those for a held partition are acknowledged by the test."""

    def __init__(self, held: set[int]) -> None:
        self.held = held
        self.batches: list[tuple[int, int]] = []  # partition, records
        self.in_flight: dict[int, asyncio.Future[None]] = {}  # held partitions only
        self.stopped = False
        self.client = SimpleNamespace(cluster=self)
        self.topics = {TOPIC}
        self.made = asyncio.Event()

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(PARTITIONS)) if topic in self.topics else None

    async def partitions_for(self, topic: str) -> set[int] | None:
        await self.made.wait()
        return self.partitions_for_topic(topic)

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES_MAX, 0, is_transactional=False)

    async def send_batch(
        self, builder: BatchBuilder, topic: str, *, partition: int
    ) -> asyncio.Future[None]:
        assert partition not in self.in_flight, "concurrent batches of a partition"
        self.batches.append((partition, builder.record_count()))
        ack: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if partition in self.held:
            self.in_flight[partition] = ack
        else:
            ack.set_result(None)
        return ack

    async def stop(self) -> None:
        self.stopped = True


class FakeBatchingProducer(BatchingProducer):
    """Uses fake producers; a new one has the same held partitions."""

    def __init__(self, *held: int) -> None:
        super().__init__(Brokers(""), "", "p.")
        self.held = set(held)
        self.producers: list[FakeProducer] = []

    async def _new_producer(self) -> FakeProducer:
        self.producers.append(FakeProducer(self.held))
        return self.producers[-1]

    def start_send(self, *partitions: int, octets: int = 1) -> "asyncio.Task[None]":
        records = [new_record(partition, octets=octets) for partition in partitions]
        return asyncio.create_task(self.send(records))

    @property
    def queued(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def batches(self) -> list[tuple[int, int]]:
        return [batch for producer in self.producers for batch in producer.batches]


def new_record(partition: int, *, octets: int = 1) -> Outgoing:
    keys = (str(number).encode() for number in count())
    key = next(key for key in keys if crc32(key) % PARTITIONS == partition)
    return Outgoing(topic="records", key=key, value=b"x" * octets)


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0)


async def test_a_partition_without_a_leader_delays_no_other() -> None:
    batching = FakeBatchingProducer(0)
    stuck = batching.start_send(0)
    await until(lambda: batching.batches)
    await batching.start_send(1, 2, 3)
    await batching.start_send(1)
    assert not stuck.done()
    batching.producers[0].in_flight.pop(0).set_result(None)
    await stuck
    await batching.close()


async def test_a_failing_partition_fails_only_its_own_callers() -> None:
    """They retry with a new producer, and batches in flight of the old one finish."""

    batching = FakeBatchingProducer(0, 1)
    failing, slow = batching.start_send(0, 2), batching.start_send(1, 2)
    await until(lambda: len(batching.batches) == 3)
    [old] = batching.producers
    old.in_flight.pop(0).set_exception(LeaderNotAvailableError())
    with pytest.raises(Unavailable):
        await failing
    await batching.start_send(3)
    assert len(batching.producers) == 2
    assert old.stopped
    assert not slow.done()
    old.in_flight.pop(1).set_result(None)
    await slow
    await batching.close()


async def test_records_that_arrive_while_a_batch_is_in_flight_form_the_next_batch() -> None:
    batching = FakeBatchingProducer(0)
    first = batching.start_send(0)
    await until(lambda: batching.batches)
    more = [batching.start_send(0) for _ in range(5)]
    await asyncio.sleep(0)
    batching.held.clear()
    batching.producers[0].in_flight.pop(0).set_result(None)
    await asyncio.gather(first, *more)
    assert batching.batches == [(0, 1), (0, 5)]
    await batching.close()


async def test_a_record_that_is_too_large_fails_only_its_caller() -> None:
    batching = FakeBatchingProducer()
    tasks = [
        batching.start_send(0),
        batching.start_send(0, octets=RECORD_BYTES_MAX + 1),
        batching.start_send(0),
    ]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    await batching.close()


async def test_a_send_of_several_batches_returns_when_all_are_acknowledged() -> None:
    batching = FakeBatchingProducer()
    await batching.start_send(*[0] * 10, octets=BATCH_BYTES_MAX // 3)
    assert sum(records for _, records in batching.batches) == 10
    assert len(batching.batches) == 5
    await batching.close()


async def test_a_missing_topic_delays_no_other() -> None:
    batching = FakeBatchingProducer()
    await batching.start()
    [producer] = batching.producers
    early = asyncio.create_task(batching.send([new_record(0), Outgoing(topic="missing", key=b"")]))
    await batching.start_send(0)
    assert not early.done()
    producer.topics.add(MISSING)
    producer.made.set()
    await early
    await batching.close()


async def test_records_of_a_cancelled_caller_are_not_sent() -> None:
    batching = FakeBatchingProducer(0)
    first, gone = batching.start_send(0), batching.start_send(0)
    await until(lambda: batching.batches)
    later = batching.start_send(0)
    await asyncio.sleep(0)
    gone.cancel()
    later.cancel()
    await asyncio.wait([gone, later])
    batching.held.clear()
    batching.producers[0].in_flight.pop(0).set_result(None)
    await first
    await batching.start_send(0)
    assert batching.batches == [(0, 2), (0, 1)]
    await batching.close()


@pytest.mark.parametrize("closed", [False, True])
async def test_without_a_broker_all_callers_get_the_error_at_once(closed: bool) -> None:
    class WithoutBroker(FakeBatchingProducer):
        attempts = 0

        async def _new_producer(self) -> FakeProducer:
            self.attempts += 1
            raise Unavailable("kafka") from KafkaError()

    batching = WithoutBroker()
    if closed:
        await batching.close()
    callers: Sequence[asyncio.Task[None]] = [batching.start_send(n % PARTITIONS) for n in range(50)]
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert batching.attempts == (0 if closed else 1)


async def test_a_failed_caller_leaves_no_records_queued_for_a_blocked_partition() -> None:
    batching = FakeBatchingProducer(0, 1)
    stuck = batching.start_send(0)
    await until(lambda: batching.batches)
    for _ in range(3):
        failing = batching.start_send(0, 1)
        await until(lambda: batching.producers[-1].in_flight.keys() & {1})
        batching.producers[-1].in_flight.pop(1).set_exception(LeaderNotAvailableError())
        with pytest.raises(Unavailable):
            await failing
    assert batching.queued == 0
    batching.producers[0].in_flight.pop(0).set_result(None)
    await stuck
    assert [batch for batch in batching.batches if batch[0] == 0] == [(0, 1)]
    await batching.close()


async def test_a_start_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a broker that names no broker in its metadata; the next send starts anew."""
    starts = 0

    async def start(_: AIOKafkaProducer) -> None:
        nonlocal starts
        starts += 1
        await asyncio.Event().wait()

    monkeypatch.setattr(AIOKafkaProducer, "start", start)
    monkeypatch.setattr(producer_module, "START_TIMEOUT_S", 0.01)
    monkeypatch.setattr(cancellation, "FINISH_TIMEOUT_S", 0.01)
    producer = BatchingProducer(Brokers("127.0.0.1:1"), "test", "")
    for number in (1, 2):
        with pytest.raises(Unavailable):
            async with asyncio.timeout(5):
                await producer.send([Outgoing(topic="a", key=b"k", value=b"v")])
        assert starts == number
    await producer.close()


@pytest.mark.parametrize(("topic", "waits"), [("own.express", False), ("own.bulk", True)])
async def test_an_express_record_does_not_wait_for_the_pace_of_bulk_mail(
    monkeypatch: pytest.MonkeyPatch, topic: str, waits: bool
) -> None:
    monkeypatch.setattr(producer_module, "LINGER_S", 60.0)
    producer = FakeBatchingProducer()
    await producer.start_send(*range(PARTITIONS))
    [fake] = producer.producers
    fake.topics |= {"p.own.express", "p.own.bulk"}
    await producer.send([Outgoing(topic="own.bulk", key=b"a", value=b"")] * 60 * 200)
    sending = asyncio.create_task(producer.send([Outgoing(topic=topic, key=b"a", value=b"")]))
    done, _ = await asyncio.wait([sending], timeout=0.2)
    assert (not done) == waits
    sending.cancel()
