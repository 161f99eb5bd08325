"""One try at an endpoint that means no good. On loopback, without a service around it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from kernel import clock
from services.events.clients import Caller
from services.events.domain.endpoint import networks
from services.events.domain.schedule import Answer
from tests.support.receiver import Receiver, receiving, says

LOOPBACK = networks(["127.0.0.0/8", "::1/128"])
Told = Callable[[Caller, Receiver], Awaitable[None]]


def play(told: Told, *, allowed: tuple = LOOPBACK, timeout_s: float = 1.0) -> None:  # type: ignore[type-arg]
    async def alone() -> None:
        caller = Caller(allowed, timeout_s=timeout_s)
        try:
            async with asyncio.timeout(20), receiving() as receiver:
                await told(caller, receiver)
        finally:
            await caller.close()

    asyncio.run(alone())


async def post(caller: Caller, url: str) -> Answer:
    return await caller.post(url, b"{}", headers={"webhook-id": "evt_1"})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_loopback_by_whatever_name_is_not_called(host: str, scheme: str) -> None:
    async def told(caller: Caller, receiver: Receiver) -> None:
        port = receiver.url.rpartition(":")[2]
        answer = await post(caller, f"{scheme}://{host}:{port}/")
        assert (answer.status, answer.ok) == (0, False)
        assert receiver.received == []

    play(told, allowed=())


def test_an_allowed_network_is_called_by_name_and_by_address() -> None:
    async def told(caller: Caller, receiver: Receiver) -> None:
        port = receiver.url.rpartition(":")[2]
        for host in ("localhost", "127.0.0.1"):
            assert (await post(caller, f"http://{host}:{port}/")).ok
        assert receiver.received[0].headers["user-agent"].startswith("OBM-Webhooks")
        assert receiver.received[0].headers["content-type"] == "application/json"

    play(told)


def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    async def told(caller: Caller, receiver: Receiver) -> None:
        where = {"location": f"{receiver.url}/secret"}
        receiver.answers["/"] = says(307, headers=where)
        answer = await post(caller, receiver.url + "/")
        assert (answer.status, answer.ok) == (307, False)
        assert receiver.at("/secret") == []

    play(told)


def test_no_answer_in_time_is_a_failure() -> None:
    async def told(caller: Caller, receiver: Receiver) -> None:
        async def hang(_: web.Request) -> web.Response:
            await asyncio.sleep(10)
            return web.Response()

        receiver.answers["/"] = hang
        assert (await post(caller, receiver.url + "/")).error == "no answer in time"

    play(told, timeout_s=0.3)


def test_a_huge_body_is_not_read_to_its_end() -> None:
    async def told(caller: Caller, receiver: Receiver) -> None:
        sent = 0

        async def flood(request: web.Request) -> web.StreamResponse:
            nonlocal sent
            response = web.StreamResponse()
            await response.prepare(request)
            while sent < 100_000_000:
                await response.write(b"x" * 65_536)
                sent += 65_536
            return response

        receiver.answers["/"] = flood
        assert (await post(caller, receiver.url + "/")).ok
        await asyncio.sleep(0.1)
        assert sent < 50_000_000

    play(told, timeout_s=5)


def test_a_body_that_drips_costs_two_seconds_at_most() -> None:
    async def told(caller: Caller, receiver: Receiver) -> None:
        async def drip(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(100):
                await response.write(b".")
                await asyncio.sleep(0.2)
            return response

        receiver.answers["/"] = drip
        began = clock.monotonic_s()
        assert (await post(caller, receiver.url + "/")).ok
        assert clock.monotonic_s() - began < 4

    play(told, timeout_s=15)


def test_retry_after_is_handed_on_and_the_answer_is_bounded() -> None:
    async def told(caller: Caller, receiver: Receiver) -> None:
        async def busy(_: web.Request) -> web.Response:
            text = "come\x00 later " * 200
            return web.Response(status=429, text=text, headers={"retry-after": "90"})

        receiver.answers["/"] = busy
        answer = await post(caller, receiver.url + "/")
        assert answer.retry_after_s == 90
        assert answer.error.startswith("HTTP 429 come  later")
        assert len(answer.error) <= 500

    play(told)


def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    async def told(caller: Caller, receiver: Receiver) -> None:
        async def close(request: web.Request) -> web.Response:
            assert request.transport is not None
            asyncio.get_running_loop().call_later(0.05, request.transport.close)
            return web.Response()

        receiver.answers["/"] = close
        for _ in range(3):
            assert (await post(caller, receiver.url + "/")).ok
            await asyncio.sleep(0.1)

    play(told)


def test_nobody_there_is_a_failure_that_says_so() -> None:
    async def told(caller: Caller, _: Receiver) -> None:
        for url in ("http://127.0.0.1:1/", "http://nowhere.invalid/", "https://127.0.0.1:1/"):
            answer = await post(caller, url)
            assert (answer.status, answer.ok) == (0, False)
            assert answer.error

    play(told)
