"""A cancelled task ends, at whatever point of its work the cancellation arrives."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import tasks
from kernel.errors import Unavailable
from kernel.group_commit import GroupCommit
from kernel.kafka.brokers import Brokers
from kernel.kafka.consumer import ConsumerWorker
from kernel.kafka.producer import BatchingProducer
from kernel.tasks import cancel_and_wait, run_concurrently, run_with_timeout, supervise
from tests.unit.kernel.test_kafka import stream

MOMENTS = range(40)  # more iterations of the loop than any step here takes


@pytest.fixture(autouse=True)
def _short_cancel_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CANCEL_TIMEOUT_S", 0.01)


async def swallows_first_cancellation() -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def cancelled_at(moment: int, step: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Start the step and cancel it after this many iterations of the loop."""
    task = asyncio.create_task(step)
    await turns(moment)
    await cancel_and_wait(task)
    return task


async def test_a_step_that_loses_its_cancellation_is_cancelled_again() -> None:
    group = asyncio.create_task(
        run_concurrently([swallows_first_cancellation(), swallows_first_cancellation()])
    )
    await turns(5)
    group.cancel()
    await asyncio.wait([group])
    assert group.cancelled()


async def test_when_a_step_fails_the_others_are_cancelled() -> None:
    async def failing() -> None:
        await turns(3)
        raise KeyError

    with pytest.raises(ExceptionGroup):
        await run_concurrently([swallows_first_cancellation(), failing()])


async def test_a_supervised_step_that_is_cancelled_twice_is_not_leaked() -> None:
    ended = asyncio.Event()

    async def slow_cleanup() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with suppress(asyncio.CancelledError):
                await turns(20)
            await turns(20)
            ended.set()

    task = asyncio.create_task(supervise(slow_cleanup(), cancel_timeout_s=3_600.0))
    await turns(3)
    for _ in range(2):
        task.cancel()
        await turns(2)
    await asyncio.wait([task])
    assert task.cancelled()
    assert ended.is_set()


async def test_an_error_during_the_cancellation_of_a_step_is_raised() -> None:
    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError

    task = asyncio.create_task(supervise(failing()))
    await turns(3)
    task.cancel()
    with pytest.raises(KeyError):
        await task


async def test_a_step_past_its_timeout_ends_even_if_it_loses_a_cancellation() -> None:
    await run_with_timeout(swallows_first_cancellation(), timeout_s=0.01)


class Consumer:
    """Commits in a few iterations of the loop."""

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("t", 0)}

    def highwater(self, _: TopicPartition) -> int:
        return 0

    async def commit(self, _: object) -> None:
        await turns(5)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_loop_of_commits_ends_at_its_first_cancellation(moment: int) -> None:
    async def commit_repeatedly() -> None:
        worker = ConsumerWorker(stream(), "g", ["t"], "", lambda _: None)
        worker.consumer = cast(AIOKafkaConsumer, Consumer())
        for offset in count(1):
            worker.processed = {TopicPartition("t", 0): offset}
            await worker.commit()

    task = asyncio.create_task(commit_repeatedly())
    await turns(moment)
    task.cancel()
    await turns(2 * len(MOMENTS))
    assert task.cancelled()


class Producer:
    """Acknowledges after a few iterations of the loop; stops after a few more."""

    def create_batch(self) -> "Producer":
        return self

    def append(self, **_: object) -> object:
        return object()

    async def send_batch(self, *_: object, **__: object) -> Awaitable[None]:
        await turns(2)
        return asyncio.create_task(turns(4))

    def __init__(self) -> None:
        self.partitions: list[int] = []

    async def partitions_for(self, _: str) -> list[int]:
        await turns(1)
        self.partitions = [0]
        return self.partitions

    async def stop(self) -> None:
        await turns(5)

    @property
    def client(self) -> "Producer":
        return self

    cluster = client

    def partitions_for_topic(self, _: str) -> list[int]:
        return self.partitions


def new_producer() -> BatchingProducer:
    producer = BatchingProducer(Brokers(""), "", "")
    producer._producer = cast(AIOKafkaProducer, Producer())
    return producer


RECORDS = [Outgoing(topic="t", key=b"k", value=b"v")]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_send_ends_whenever_the_producer_is_closed(moment: int) -> None:
    producer = new_producer()
    sends = [asyncio.create_task(producer.send(RECORDS)) for _ in range(3)]
    await turns(moment)
    late = asyncio.create_task(producer.send(RECORDS))
    await producer.close()
    results = await asyncio.gather(*sends, late, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), Unavailable}
    assert producer._sender is None


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_cancelled_send_does_not_affect_the_others(moment: int) -> None:
    producer = new_producer()
    other = asyncio.create_task(producer.send(RECORDS))
    await cancelled_at(moment, producer.send(RECORDS))
    await other
    await producer.close()


@pytest.mark.parametrize("moment", MOMENTS)
async def test_closing_a_producer_can_be_cancelled(moment: int) -> None:
    producer = new_producer()
    sending = asyncio.create_task(producer.send(RECORDS))
    await turns(2)
    await cancelled_at(moment, producer.close())
    with suppress(Unavailable):
        await sending


@pytest.mark.parametrize("moment", MOMENTS)
async def test_waiting_for_a_group_commit_can_be_cancelled(moment: int) -> None:
    async def commit(items: Sequence[int]) -> Sequence[int]:
        await turns(5)
        return items

    async def waiting(group: "GroupCommit[int, int]") -> None:
        while True:
            await group.wait_idle()
            await asyncio.sleep(0)

    group: GroupCommit[int, int] = GroupCommit(commit)
    submitted = asyncio.create_task(group.submit(1))
    task = asyncio.create_task(waiting(group))
    await turns(moment)
    task.cancel()
    await turns(3)
    assert task.cancelled()
    assert await submitted == 1


async def test_items_of_a_cancelled_group_do_not_wait_for_ever() -> None:
    async def commit(_: Sequence[int]) -> Sequence[int]:
        await asyncio.Event().wait()
        return []

    group: GroupCommit[int, int] = GroupCommit(commit)
    members = [asyncio.create_task(group.submit(n)) for n in range(2)]
    await turns(3)
    members.append(asyncio.create_task(group.submit(2)))
    await turns(3)
    assert group._committer is not None
    await cancel_and_wait(group._committer)
    await asyncio.wait(members)
    assert all(member.cancelled() for member in members)
