"""Answers that hold for a while: bounded, and what several ask for at once is asked once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kernel import clock

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Cached(Generic[V]):
    value: V
    until_s: float

    @property
    def fresh(self) -> bool:
        return clock.monotonic_s() < self.until_s


class Cache(Generic[V]):
    """ask: the answer for a key, and for how many seconds it holds; where it raises, nothing is
    remembered. most: of the answers; beyond it the oldest goes."""

    def __init__(self, ask: Callable[[str], Awaitable[tuple[V, float]]], *, most: int) -> None:
        self._ask = ask
        self._most = most
        self._known: dict[str, Cached[V]] = {}
        self._asking: dict[str, asyncio.Task[V]] = {}

    def peek(self, key: str) -> Cached[V] | None:
        """What is known, be it old. Nobody is asked."""
        return self._known.get(key)

    @property
    def asking(self) -> int:
        """How many questions are open."""
        return len(self._asking)

    def ask(self, key: str) -> "asyncio.Task[V]":
        """The question, which goes on when one of those who wait for it gives up."""
        if (task := self._asking.get(key)) is None:
            task = self._asking[key] = asyncio.create_task(self._learn(key))
            task.add_done_callback(lambda done: self._answered(key, done))
        return task

    async def get(self, key: str) -> V:
        known = self._known.get(key)
        return known.value if known and known.fresh else await asyncio.shield(self.ask(key))

    async def close(self) -> None:
        for task in list(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _learn(self, key: str) -> V:
        value, holds_s = await self._ask(key)
        self._known.pop(key, None)  # behind all that were asked before it
        while len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[key] = Cached(value, clock.monotonic_s() + holds_s)
        return value

    def _answered(self, key: str, task: "asyncio.Task[V]") -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever still waits is told
