"""Group commit by arrival: start at once, and what arrives meanwhile is the next group."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from kernel.errors import Unavailable
from kernel.pace import Pace

T = TypeVar("T")
R = TypeVar("R")


class _Waiting(NamedTuple):
    item: object
    size: int
    done: asyncio.Future[object]


class Group(Generic[T, R]):
    """Items that are committed together share one transaction, one fsync.

    commit: takes the items of a group, returns one result per item, in order. It raises when the
        group as a whole failed: then its members are tried alone, so that only the culprit sees
        the error. When infrastructure is away all of them do, at once.
    items_max, bytes_max: the bounds of a group. An item larger than alone_bytes goes alone.
    window_s: under load, from the start of a group to that of the next.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        items_max: int = 200,
        bytes_max: int = 16 * 1024 * 1024,
        alone_bytes: int = 2**62,
        window_s: float = 0.0,
    ) -> None:
        self._commit = commit
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._alone_bytes = alone_bytes
        self._pace = Pace(window_s)
        self._waiting: list[_Waiting] = []
        self._committer: asyncio.Task[None] | None = None

    @property
    def load(self) -> int:
        """0: idle. Else one for the group that is being committed, and what waits behind it."""
        return 0 if self._committer is None else 1 + len(self._waiting)

    async def submit(self, item: T, *, size: int = 0) -> R:
        """Return when the group with this item is durable; raises what its commit raised."""
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, size, done))
        if self._committer is None:  # busy from here on, not from when the task starts
            self._committer = asyncio.create_task(self._drain())
        return await done  # type: ignore[return-value]

    async def idle(self) -> None:
        """Return when nothing waits any more."""
        while self._committer is not None:
            await asyncio.wait([self._committer])

    async def _drain(self) -> None:
        group: list[_Waiting] = []
        try:
            while self._waiting:
                if len(self._waiting) < self._items_max:
                    await self._pace.turn()
                group = self._take()
                self._pace.began(len(group))
                await self._settle(group)
        finally:
            self._committer = None
            left, self._waiting = self._waiting, []
            for waiting in (*group, *left):  # there are none, unless we were ended
                waiting.done.cancel()

    def _take(self) -> list[_Waiting]:
        total = 0
        for count, waiting in enumerate(self._waiting):
            total += waiting.size
            crowded = count >= self._items_max or total > self._bytes_max
            if count and (crowded or waiting.size > self._alone_bytes):
                break
            if waiting.size > self._alone_bytes:
                count = 1  # noqa: PLW2901 - alone
                break
        else:
            count = len(self._waiting)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def _settle(self, group: list[_Waiting]) -> None:
        try:
            results = await self._commit([waiting.item for waiting in group])  # type: ignore[misc]
        except Exception as error:
            if len(group) == 1 or isinstance(error, Unavailable):
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)
                return
            for waiting in group:
                await self._settle([waiting])
            return
        for waiting, result in zip(group, results, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(result)
