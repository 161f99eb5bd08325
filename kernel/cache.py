"""A bounded cache with a TTL per entry. Concurrent callers of one key share one fetch."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from kernel import clock

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CacheEntry(Generic[V]):
    value: V
    expires_at_s: float
    octets: int = 0

    @property
    def is_fresh(self) -> bool:
        return clock.monotonic_s() < self.expires_at_s


class Cache(Generic[V]):
    """fetch: returns the value for a key and its TTL in seconds; if it raises, or for 0 seconds,
    nothing is cached.
    It receives the key and the arguments of the `get` or `refresh` that started it.
    entries_max, octets_max: beyond them the oldest entries are evicted. octets_of: of a value,
    about what it takes in memory."""

    def __init__(
        self,
        fetch: Callable[..., Awaitable[tuple[V, float]]],
        *,
        entries_max: int,
        octets_max: float = inf,
        octets_of: Callable[[V], int] = lambda _: 0,
    ) -> None:
        self._fetch = fetch
        self._entries_max = entries_max
        self._octets_max, self._octets_of, self._octets = octets_max, octets_of, 0
        self._entries: OrderedDict[str, CacheEntry[V]] = OrderedDict()
        self._fetches: dict[str, asyncio.Task[V]] = {}

    def peek(self, key: str) -> CacheEntry[V] | None:
        """The cached entry, even if it has expired; starts no fetch."""
        return self._entries.get(key)

    def put(self, key: str, value: V, ttl_s: float) -> None:
        """Replace the entry. 0 seconds: the next `get` fetches it."""
        self.discard(key)  # so that it becomes the newest
        entry = CacheEntry(value, clock.monotonic_s() + ttl_s, self._octets_of(value))
        self._entries[key] = entry
        self._octets += entry.octets
        while len(self._entries) > self._entries_max or self._octets > self._octets_max:
            self.discard(next(iter(self._entries)))

    def discard(self, key: str) -> None:
        """Remove the entry, if there is one; the next `get` fetches it."""
        if (entry := self._entries.pop(key, None)) is not None:
            self._octets -= entry.octets

    @property
    def fetches_in_progress(self) -> int:
        """Number of fetches in progress."""
        return len(self._fetches)

    def is_fetching(self, key: str) -> bool:
        return key in self._fetches

    def refresh(self, key: str, *arguments: object) -> "asyncio.Task[V]":
        """The task that fetches the key. It continues if one of its waiters is cancelled."""
        if (task := self._fetches.get(key)) is None:
            task = self._fetches[key] = asyncio.create_task(self._fetch_and_store(key, arguments))
            task.add_done_callback(lambda done: self._on_fetched(key, done))
        return task

    async def get(self, key: str, *arguments: object) -> V:
        entry = self._entries.get(key)
        if entry is not None and entry.is_fresh:
            return entry.value
        return await asyncio.shield(self.refresh(key, *arguments))

    async def close(self) -> None:
        for task in list(self._fetches.values()):
            task.cancel()
        await asyncio.gather(*self._fetches.values(), return_exceptions=True)

    async def _fetch_and_store(self, key: str, arguments: tuple[object, ...]) -> V:
        value, ttl_s = await self._fetch(key, *arguments)
        if ttl_s > 0:
            self.put(key, value, ttl_s)
        else:
            self.discard(key)
        return value

    def _on_fetched(self, key: str, task: "asyncio.Task[V]") -> None:
        self._fetches.pop(key, None)
        if not task.cancelled():
            task.exception()  # mark it as retrieved; waiters still receive it
