"""A cache with a TTL and shared fetches."""

import asyncio

import pytest

from kernel import clock
from kernel.cache import Cache


class Source:
    """Returns the number of fetches so far, once `released` is set."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.released = asyncio.Event()
        self.is_unavailable = False

    async def fetch(self, key: str) -> tuple[int, float]:
        self.queries.append(key)
        await self.released.wait()
        if self.is_unavailable:
            raise OSError("unavailable")
        return len(self.queries), 60.0


async def test_concurrent_callers_share_one_fetch_that_survives_a_cancelled_one() -> None:
    source = Source()
    cache = Cache(source.fetch, entries_max=10)
    waiting = [asyncio.create_task(cache.get("a")) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    source.released.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 1]
    assert await cache.get("a") == 1
    assert source.queries == ["a"]


async def test_an_expired_value_is_fetched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])

    source = Source()
    source.released.set()
    cache = Cache(source.fetch, entries_max=10)
    assert await cache.get("a") == 1
    now[0] = 60.0
    old = cache.peek("a")
    assert old
    assert (old.value, old.is_fresh) == (1, False)
    assert await cache.get("a") == 2


async def test_the_oldest_entry_is_evicted_first() -> None:
    source = Source()
    source.released.set()
    cache = Cache(source.fetch, entries_max=3)
    for key in ("a", "b", "c"):
        await cache.get(key)
    await cache.refresh("a")
    await cache.get("d")
    assert [key for key in "abcd" if cache.peek(key)] == ["a", "c", "d"]


async def test_a_failure_reaches_all_waiters_and_is_not_cached() -> None:
    source = Source()
    source.is_unavailable = True
    source.released.set()
    cache = Cache(source.fetch, entries_max=3)
    with pytest.raises(OSError, match="unavailable"):
        await cache.get("a")
    source.is_unavailable = False
    assert await cache.get("a") == 2


async def test_closing_cancels_all_fetches() -> None:
    source = Source()
    cache = Cache(source.fetch, entries_max=3)
    task = cache.refresh("a")
    await asyncio.sleep(0)
    assert cache.fetches_in_progress == 1
    await cache.close()
    assert task.cancelled()
    assert cache.fetches_in_progress == 0


async def test_the_oldest_entries_are_evicted_when_all_together_are_too_large() -> None:
    async def fetch(key: str) -> tuple[bytes, float]:
        return bytes(int(key)), 60.0

    cache = Cache(fetch, entries_max=10, octets_max=100, octets_of=len)
    for key in ("50", "40", "10", "30"):
        await cache.get(key)
    assert [key for key in ("50", "40", "10", "30") if cache.peek(key)] == ["40", "10", "30"]
    await cache.refresh("40")  # again, and no longer the oldest
    cache.discard("30")
    await cache.get("60")
    assert [key for key in ("40", "10", "30", "60") if cache.peek(key)] == ["40", "60"]
    assert await cache.get("101") == bytes(101)  # never kept
    assert cache.peek("101") is None
