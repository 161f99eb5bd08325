"""Whoever is told to end has ended, wherever it is at that moment."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import tasks
from kernel.errors import Unavailable
from kernel.group_commit import GroupCommit
from kernel.kafka.consumer import ConsumerWorker
from kernel.kafka.producer import BatchingProducer
from kernel.tasks import cancel_and_wait, run_concurrently, run_with_timeout, supervise
from tests.unit.kernel.test_kafka import stream

MOMENTS = range(40)  # more turns of the loop than any step here takes


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CANCEL_TIMEOUT_S", 0.01)


def play(story: Coroutine[Any, Any, None]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(20):
            await story

    asyncio.run(timed())


async def hard_of_hearing() -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def cancelled_at(moment: int, step: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """The step, ended after so many turns of the loop."""
    task = asyncio.create_task(step)
    await turns(moment)
    await cancel_and_wait(task)
    return task


def test_one_of_several_that_loses_its_cancellation_is_told_again() -> None:
    async def story() -> None:
        group = asyncio.create_task(run_concurrently([hard_of_hearing(), hard_of_hearing()]))
        await turns(5)
        group.cancel()
        await asyncio.wait([group])
        assert group.cancelled()

    play(story())


def test_when_one_of_several_fails_the_others_are_ended() -> None:
    async def failing() -> None:
        await turns(3)
        raise KeyError

    async def story() -> None:
        with pytest.raises(ExceptionGroup):
            await run_concurrently([hard_of_hearing(), failing()])

    play(story())


def test_a_held_step_that_is_cancelled_twice_is_not_left_behind() -> None:
    ended = asyncio.Event()

    async def tidying_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with suppress(asyncio.CancelledError):
                await turns(20)
            await turns(20)
            ended.set()

    async def story() -> None:
        task = asyncio.create_task(supervise(tidying_up()))
        await turns(3)
        for _ in range(2):
            task.cancel()
            await turns(2)
        await asyncio.wait([task])
        assert task.cancelled()
        assert ended.is_set()

    play(story())


def test_how_a_held_step_failed_on_its_way_out_is_heard() -> None:
    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError

    async def story() -> None:
        task = asyncio.create_task(supervise(failing()))
        await turns(3)
        task.cancel()
        with pytest.raises(KeyError):
            await task

    play(story())


def test_a_step_that_takes_too_long_is_ended_however_hard_of_hearing() -> None:
    play(run_with_timeout(hard_of_hearing(), timeout_s=0.01))


class Consumer:
    """Answers a commit after a few turns."""

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("t", 0)}

    def highwater(self, _: TopicPartition) -> int:
        return 0

    async def commit(self, _: object) -> None:
        await turns(5)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_loop_of_commits_ends_at_its_first_cancellation(moment: int) -> None:
    async def committing() -> None:
        reader = ConsumerWorker(stream(), "g", "", lambda _: None)
        reader.consumer = cast(AIOKafkaConsumer, Consumer())
        reader.processed = {TopicPartition("t", 0): 1}
        while True:
            await reader.commit()

    async def story() -> None:
        task = asyncio.create_task(committing())
        await turns(moment)
        task.cancel()
        await turns(2 * len(MOMENTS))
        assert task.cancelled()

    play(story())


class Producer:
    """Acknowledges after a few turns; ends after a few more."""

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


def emitter() -> BatchingProducer:
    made = BatchingProducer("", "", "")
    made._producer = cast(AIOKafkaProducer, Producer())
    return made


RECORDS = [Outgoing(topic="t", key=b"k", value=b"v")]


@pytest.mark.parametrize("moment", MOMENTS)
def test_who_publishes_is_answered_at_whatever_moment_the_emitter_ends(moment: int) -> None:
    async def story() -> None:
        made = emitter()
        sends = [asyncio.create_task(made.send(RECORDS)) for _ in range(3)]
        await turns(moment)
        late = asyncio.create_task(made.send(RECORDS))
        await made.close()
        answers = await asyncio.gather(*sends, late, return_exceptions=True)
        assert {type(answer) for answer in answers} <= {type(None), Unavailable}
        assert made._sender is None

    play(story())


@pytest.mark.parametrize("moment", MOMENTS)
def test_one_who_gives_up_publishing_leaves_the_others_their_answer(moment: int) -> None:
    async def story() -> None:
        made = emitter()
        other = asyncio.create_task(made.send(RECORDS))
        await cancelled_at(moment, made.send(RECORDS))
        await other
        await made.close()

    play(story())


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_end_of_an_emitter_may_be_cut_short(moment: int) -> None:
    async def story() -> None:
        made = emitter()
        sending = asyncio.create_task(made.send(RECORDS))
        await turns(2)
        await cancelled_at(moment, made.close())
        with suppress(Unavailable):
            await sending

    play(story())


@pytest.mark.parametrize("moment", MOMENTS)
def test_waiting_for_a_group_ends_when_it_is_told_to(moment: int) -> None:
    async def commit(items: Sequence[int]) -> Sequence[int]:
        await turns(5)
        return items

    async def waiting(group: "GroupCommit[int, int]") -> None:
        while True:
            await group.wait_idle()
            await asyncio.sleep(0)

    async def story() -> None:
        group: GroupCommit[int, int] = GroupCommit(commit)
        submitted = asyncio.create_task(group.submit(1))
        task = asyncio.create_task(waiting(group))
        await turns(moment)
        task.cancel()
        await turns(3)
        assert task.cancelled()
        assert await submitted == 1

    play(story())


def test_members_of_a_group_that_is_ended_are_not_left_waiting() -> None:
    async def commit(_: Sequence[int]) -> Sequence[int]:
        await asyncio.Event().wait()
        return []

    async def story() -> None:
        group: GroupCommit[int, int] = GroupCommit(commit)
        members = [asyncio.create_task(group.submit(n)) for n in range(2)]
        await turns(3)
        members.append(asyncio.create_task(group.submit(2)))
        await turns(3)
        assert group._committer is not None
        await cancel_and_wait(group._committer)
        await asyncio.wait(members)
        assert all(member.cancelled() for member in members)

    play(story())
