"""The calls that wait for one endpoint."""

import asyncio
from collections.abc import Sequence

import pytest

from services.events.domain.endpoint import Endpoint
from services.events.domain.webhook_attempt import WebhookAttempt
from services.events.loops.endpoint_queue import QUEUE_MAX, EndpointQueue

ENDPOINT = Endpoint("e", "t", "https://example.com", b"")


def calls(count: int) -> list[WebhookAttempt]:
    return [WebhookAttempt(ENDPOINT, str(n), "token", b"{}") for n in range(count)]


class Endpoints:
    """fails_at: from which try on it fails."""

    def __init__(self, fails_at: int = 10**9, *, raises: bool = False) -> None:
        self.fails_at = fails_at
        self.raises = raises
        self.tried: list[str] = []
        self.returned: list[str] = []
        self.under_way = self.most = 0

    async def call(self, call: WebhookAttempt) -> bool:
        self.tried.append(call.position)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if self.raises:
            raise RuntimeError("a bug")
        return len(self.tried) < self.fails_at

    async def give_back(self, some: Sequence[WebhookAttempt]) -> None:
        self.returned += [call.position for call in some]

    def line(self, *, lease_s: float = 60.0) -> EndpointQueue:
        return EndpointQueue(self.call, self.give_back, concurrency=3, lease_s=lease_s)


async def played(line: EndpointQueue, count: int) -> None:
    line.enqueue(calls(count))
    while not line.is_idle:
        await asyncio.sleep(0)


def test_all_are_called_a_few_at_a_time() -> None:
    endpoints = Endpoints()

    asyncio.run(played(endpoints.line(), 20))

    assert sorted(endpoints.tried, key=int) == [str(n) for n in range(20)]
    assert endpoints.most == 3


def test_after_a_failure_too_many_the_rest_is_given_back() -> None:
    endpoints = Endpoints(fails_at=5)

    asyncio.run(played(endpoints.line(), 20))

    assert len(endpoints.tried) + len(endpoints.returned) == 20
    assert len(endpoints.tried) < 10


def test_a_call_whose_lease_is_over_is_not_made() -> None:
    endpoints = Endpoints()

    asyncio.run(played(endpoints.line(lease_s=-1.0), 4))

    assert endpoints.tried == []


def test_a_bug_in_one_call_does_not_stop_the_line(caplog: pytest.LogCaptureFixture) -> None:
    endpoints = Endpoints(raises=True)

    asyncio.run(played(endpoints.line(), 7))

    assert len(endpoints.tried) == 7
    assert "a webhook attempt failed" in caplog.text


def test_a_line_has_room_for_so_many() -> None:
    async def alone() -> None:
        line = Endpoints().line()
        assert line.capacity == QUEUE_MAX
        line.enqueue(calls(10))
        assert line.capacity < QUEUE_MAX
        await line.drain()
        assert line.is_idle

    asyncio.run(alone())


def test_a_call_that_nobody_has_the_time_to_wait_for_is_given_back() -> None:
    endpoints = Endpoints()

    async def story() -> None:
        never = asyncio.Event()

        async def call(_: WebhookAttempt) -> bool:
            return await never.wait()

        line = EndpointQueue(call, endpoints.give_back, concurrency=3, lease_s=60.0)
        line.enqueue(calls(5))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await line.drain()
        assert line.is_idle

    asyncio.run(story())

    assert sorted(endpoints.returned) == [str(n) for n in range(5)]
