"""Answers that hold for a while."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kernel import clock
from kernel.cache import Cache


class Oracle:
    """Answers with how often it was asked; waits for `may` to be set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may = asyncio.Event()
        self.away = False

    async def ask(self, key: str) -> tuple[int, float]:
        self.asked.append(key)
        await self.may.wait()
        if self.away:
            raise OSError("away")
        return len(self.asked), 60.0


def play(story: Callable[[Oracle], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Oracle())

    asyncio.run(run())


def test_what_several_ask_for_is_asked_once_and_outlives_one_that_gives_up() -> None:
    async def story(oracle: Oracle) -> None:
        cache = Cache(oracle.ask, entries_max=10)
        waiting = [asyncio.create_task(cache.get("a")) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        oracle.may.set()
        assert await asyncio.gather(*waiting[1:]) == [1, 1]
        assert await cache.get("a") == 1
        assert oracle.asked == ["a"]

    play(story)


def test_an_answer_is_asked_for_again_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])

    async def story(oracle: Oracle) -> None:
        oracle.may.set()
        cache = Cache(oracle.ask, entries_max=10)
        assert await cache.get("a") == 1
        now[0] = 60.0
        old = cache.peek("a")
        assert old
        assert (old.value, old.is_fresh) == (1, False)
        assert await cache.get("a") == 2

    play(story)


def test_the_oldest_answer_goes_first_and_no_other() -> None:
    async def story(oracle: Oracle) -> None:
        oracle.may.set()
        cache = Cache(oracle.ask, entries_max=3)
        for key in ("a", "b", "c"):
            await cache.get(key)
        await cache.refresh("a")
        await cache.get("d")
        assert [key for key in "abcd" if cache.peek(key)] == ["a", "c", "d"]

    play(story)


def test_a_failure_is_for_those_who_wait_and_is_not_remembered() -> None:
    async def story(oracle: Oracle) -> None:
        oracle.away = True
        oracle.may.set()
        cache = Cache(oracle.ask, entries_max=3)
        with pytest.raises(OSError, match="away"):
            await cache.get("a")
        oracle.away = False
        assert await cache.get("a") == 2

    play(story)


def test_closing_ends_all_questions() -> None:
    async def story(oracle: Oracle) -> None:
        cache = Cache(oracle.ask, entries_max=3)
        task = cache.refresh("a")
        await asyncio.sleep(0)
        assert cache.fetching == 1
        await cache.close()
        assert task.cancelled()
        assert cache.fetching == 0

    play(story)
