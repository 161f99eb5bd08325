"""The queue of attempts for one endpoint."""

import asyncio
from collections.abc import Sequence

import pytest

from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.webhook_attempt import WebhookAttempt
from services.events.loops.endpoint_queue import QUEUE_MAX, EndpointQueue

ENDPOINT = WebhookEndpoint("e", "t", "https://example.com", b"")


def create_attempts(count: int) -> list[WebhookAttempt]:
    return [WebhookAttempt(ENDPOINT, str(n), "token", b"{}") for n in range(count)]


class FakeEndpoint:
    """Records attempts. fails_at: number of the first attempt after which no more should follow."""

    def __init__(self, fails_at: int = 10**9, *, raises: bool = False) -> None:
        self.fails_at = fails_at
        self.raises = raises
        self.attempted: list[str] = []
        self.released: list[str] = []
        self.concurrency = 3
        self.running = self.running_max = 0

    async def attempt(self, attempt: WebhookAttempt) -> bool:
        self.attempted.append(attempt.position)
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if self.raises:
            raise RuntimeError("a bug")
        return len(self.attempted) < self.fails_at

    async def release(self, some: Sequence[WebhookAttempt]) -> None:
        self.released += [attempt.position for attempt in some]

    def queue(self, *, lease_s: float = 60.0) -> EndpointQueue:
        return EndpointQueue(
            self.attempt, self.release, concurrency=lambda: self.concurrency, lease_s=lease_s
        )


async def run_queue(queue: EndpointQueue, count: int) -> None:
    queue.enqueue(create_attempts(count))
    while not queue.is_idle:
        await asyncio.sleep(0)


def test_all_attempts_are_made_with_limited_concurrency() -> None:
    endpoint = FakeEndpoint()

    asyncio.run(run_queue(endpoint.queue(), 20))

    assert sorted(endpoint.attempted, key=int) == [str(n) for n in range(20)]
    assert endpoint.running_max == 3


async def test_concurrency_that_becomes_less_and_more_is_kept() -> None:
    endpoint = FakeEndpoint()
    endpoint.concurrency = 8
    queue = endpoint.queue()
    queue.enqueue(create_attempts(100))
    await asyncio.sleep(0)
    assert endpoint.running == 8

    endpoint.concurrency = 2
    while len(endpoint.attempted) < 20:
        await asyncio.sleep(0)
    assert 0 < endpoint.running <= 2
    endpoint.running_max = 0
    while len(endpoint.attempted) < 60:
        await asyncio.sleep(0)
    assert endpoint.running_max == 2

    endpoint.concurrency = 5
    queue.enqueue(create_attempts(10))
    while not queue.is_idle:
        await asyncio.sleep(0)
    assert endpoint.running_max == 5
    assert len(endpoint.attempted) == 110


def test_queued_attempts_are_released_when_no_more_should_follow() -> None:
    endpoint = FakeEndpoint(fails_at=5)

    asyncio.run(run_queue(endpoint.queue(), 20))

    assert len(endpoint.attempted) + len(endpoint.released) == 20
    assert len(endpoint.attempted) < 10


def test_an_attempt_whose_lease_is_over_is_not_made() -> None:
    endpoint = FakeEndpoint()

    asyncio.run(run_queue(endpoint.queue(lease_s=-1.0), 4))

    assert endpoint.attempted == []


def test_an_exception_in_one_attempt_does_not_stop_the_queue(
    caplog: pytest.LogCaptureFixture,
) -> None:
    endpoint = FakeEndpoint(raises=True)

    asyncio.run(run_queue(endpoint.queue(), 7))

    assert len(endpoint.attempted) == 7
    assert "webhook.attempt.crashed" in caplog.text


async def test_the_capacity_of_a_queue_shrinks_with_its_attempts() -> None:
    queue = FakeEndpoint().queue()
    assert queue.capacity == QUEUE_MAX
    queue.enqueue(create_attempts(10))
    assert queue.capacity < QUEUE_MAX
    await queue.drain()
    assert queue.is_idle


async def test_attempts_are_released_when_the_drain_times_out() -> None:
    endpoint = FakeEndpoint()

    never = asyncio.Event()

    async def attempt(_: WebhookAttempt) -> bool:
        return await never.wait()

    queue = EndpointQueue(attempt, endpoint.release, concurrency=lambda: 3, lease_s=60.0)
    queue.enqueue(create_attempts(5))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await queue.drain()
    assert queue.is_idle

    assert sorted(endpoint.released) == [str(n) for n in range(5)]
