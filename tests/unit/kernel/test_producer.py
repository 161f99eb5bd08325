"""Who waits for whom when records are published, with a producer that is pretended."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from types import SimpleNamespace
from zlib import crc32

import pytest
from aiokafka.errors import KafkaError, LeaderNotAvailableError
from aiokafka.producer.message_accumulator import BatchBuilder

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel.errors import Unavailable
from kernel.kafka.producer import BATCH_BYTES_MAX, BatchingProducer
from kernel.kafka.topics import RECORD_BYTES_MAX

PARTITIONS = 4
TOPIC, MISSING = "p.letters", "p.missing"


class Producer:
    """Takes batches; those for a partition that is held are not acknowledged by themselves."""

    def __init__(self, held: set[int]) -> None:
        self.held = held
        self.batches: list[tuple[int, int]] = []  # partition, records
        self.flying: dict[int, asyncio.Future[None]] = {}  # of those that are held
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
        assert partition not in self.flying, "concurrent batches of a partition"
        self.batches.append((partition, builder.record_count()))
        ack: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if partition in self.held:
            self.flying[partition] = ack
        else:
            ack.set_result(None)
        return ack

    async def stop(self) -> None:
        self.stopped = True


class Desk(BatchingProducer):
    """Its producers are pretended; a new one knows the same broker."""

    def __init__(self, *held: int) -> None:
        super().__init__("", "", "p.")
        self.held = set(held)
        self.producers: list[Producer] = []

    async def _new_producer(self) -> Producer:
        self.producers.append(Producer(self.held))
        return self.producers[-1]

    def post(self, *partitions: int, octets: int = 1) -> "asyncio.Task[None]":
        records = [letter(partition, octets=octets) for partition in partitions]
        return asyncio.create_task(self.send(records))

    @property
    def queued(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def batches(self) -> list[tuple[int, int]]:
        return [batch for producer in self.producers for batch in producer.batches]


def letter(partition: int, *, octets: int = 1) -> Outgoing:
    keys = (str(number).encode() for number in count())
    key = next(key for key in keys if crc32(key) % PARTITIONS == partition)
    return Outgoing(topic="letters", key=key, value=b"x" * octets)


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0)


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await story()

    asyncio.run(bounded())


def test_a_partition_without_a_leader_keeps_no_other_waiting() -> None:
    async def story() -> None:
        desk = Desk(0)
        stuck = desk.post(0)
        await until(lambda: desk.batches)
        await desk.post(1, 2, 3)
        await desk.post(1)
        assert not stuck.done()
        desk.producers[0].flying.pop(0).set_result(None)
        await stuck
        await desk.close()

    play(story)


def test_a_partition_that_fails_fails_its_own_callers_alone() -> None:
    """They come again, with a new producer; what the old one has on its way comes to its end."""

    async def story() -> None:
        desk = Desk(0, 1)
        failing, slow = desk.post(0, 2), desk.post(1, 2)
        await until(lambda: len(desk.batches) == 3)
        [old] = desk.producers
        old.flying.pop(0).set_exception(LeaderNotAvailableError())
        with pytest.raises(Unavailable):
            await failing
        await desk.post(3)
        assert len(desk.producers) == 2
        assert old.stopped
        assert not slow.done()
        old.flying.pop(1).set_result(None)
        await slow
        await desk.close()

    play(story)


def test_what_comes_while_a_batch_is_on_its_way_is_the_next_one() -> None:
    async def story() -> None:
        desk = Desk(0)
        first = desk.post(0)
        await until(lambda: desk.batches)
        more = [desk.post(0) for _ in range(5)]
        await asyncio.sleep(0)
        desk.held.clear()
        desk.producers[0].flying.pop(0).set_result(None)
        await asyncio.gather(first, *more)
        assert desk.batches == [(0, 1), (0, 5)]
        await desk.close()

    play(story)


def test_a_record_that_is_too_large_is_its_callers_trouble_alone() -> None:
    async def story() -> None:
        desk = Desk()
        tasks = [desk.post(0), desk.post(0, octets=RECORD_BYTES_MAX + 1), desk.post(0)]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None), ValueError, type(None)]
        await desk.close()

    play(story)


def test_more_than_a_batch_is_acknowledged_when_all_of_it_is() -> None:
    async def story() -> None:
        desk = Desk()
        await desk.post(*[0] * 10, octets=BATCH_BYTES_MAX // 3)
        assert sum(records for _, records in desk.batches) == 10
        assert len(desk.batches) == 5
        await desk.close()

    play(story)


def test_a_topic_that_is_missing_keeps_no_other_waiting() -> None:
    async def story() -> None:
        desk = Desk()
        await desk.start()
        [producer] = desk.producers
        early = asyncio.create_task(desk.send([letter(0), Outgoing(topic="missing", key=b"")]))
        await desk.post(0)
        assert not early.done()
        producer.topics.add(MISSING)
        producer.made.set()
        await early
        await desk.close()

    play(story)


def test_records_of_a_caller_that_has_gone_are_not_sent() -> None:
    async def story() -> None:
        desk = Desk(0)
        first, gone = desk.post(0), desk.post(0)
        await until(lambda: desk.batches)
        later = desk.post(0)
        await asyncio.sleep(0)
        gone.cancel()
        later.cancel()
        await asyncio.wait([gone, later])
        desk.held.clear()
        desk.producers[0].flying.pop(0).set_result(None)
        await first
        await desk.post(0)
        assert desk.batches == [(0, 2), (0, 1)]
        await desk.close()

    play(story)


@pytest.mark.parametrize("closed", [False, True])
def test_without_a_broker_all_who_wait_hear_it_at_once(closed: bool) -> None:
    class Alone(Desk):
        tries = 0

        async def _new_producer(self) -> Producer:
            self.tries += 1
            raise Unavailable("kafka") from KafkaError()

    async def story() -> None:
        desk = Alone()
        if closed:
            await desk.close()
        callers: Sequence[asyncio.Task[None]] = [desk.post(n % PARTITIONS) for n in range(50)]
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(answer, Unavailable) for answer in answers)
        assert desk.tries == (0 if closed else 1)

    play(story)


def test_who_fails_leaves_nothing_behind_before_a_partition_that_does_not_move() -> None:
    async def story() -> None:
        desk = Desk(0, 1)
        stuck = desk.post(0)
        await until(lambda: desk.batches)
        for _ in range(3):
            failing = desk.post(0, 1)
            await until(lambda: desk.producers[-1].flying.keys() & {1})
            desk.producers[-1].flying.pop(1).set_exception(LeaderNotAvailableError())
            with pytest.raises(Unavailable):
                await failing
        assert desk.queued == 0
        desk.producers[0].flying.pop(0).set_result(None)
        await stuck
        assert [batch for batch in desk.batches if batch[0] == 0] == [(0, 1)]
        await desk.close()

    play(story)
