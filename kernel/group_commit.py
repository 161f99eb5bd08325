"""GroupCommit commit by arrival: start at once, and what arrives meanwhile is the next group."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from kernel.errors import Unavailable
from kernel.pace import BatchPacer

T = TypeVar("T")
R = TypeVar("R")


class _QueuedItem(NamedTuple):
    item: object
    size: int
    done: asyncio.Future[object]


class GroupCommit(Generic[T, R]):
    """Items that are committed together share one transaction, one fsync.

    commit: takes the items of a group, returns one result per item, in order. It raises when the
        group as a whole failed: then its members are tried alone, so that only the culprit sees
        the error. When infrastructure is away all of them do, at once.
    items_max, bytes_max: the bounds of a group. An item larger than alone_bytes goes alone.
    linger_s: under load, from the start of a group to that of the next.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        items_max: int = 200,
        bytes_max: int = 16 * 1024 * 1024,
        alone_bytes: int = 2**62,
        linger_s: float = 0.0,
    ) -> None:
        self._commit = commit
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._alone_bytes = alone_bytes
        self._pace = BatchPacer(linger_s)
        self._queued: list[_QueuedItem] = []
        self._committer: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """0: idle. Else one for the group that is being committed, and what waits behind it."""
        return 0 if self._committer is None else 1 + len(self._queued)

    async def submit(self, item: T, *, size: int = 0) -> R:
        """Return when the group with this item is durable; raises what its commit raised."""
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._queued.append(_QueuedItem(item, size, done))
        if self._committer is None:  # busy from here on, not from when the task starts
            self._committer = asyncio.create_task(self._drain())
        return await done  # type: ignore[return-value]

    async def wait_idle(self) -> None:
        """Return when nothing waits any more."""
        while self._committer is not None:
            await asyncio.wait([self._committer])

    async def _drain(self) -> None:
        group: list[_QueuedItem] = []
        try:
            while self._queued:
                if len(self._queued) < self._items_max:
                    await self._pace.wait_turn()
                group = self._take()
                self._pace.start_batch(len(group))
                await self._commit_group(group)
        finally:
            self._committer = None
            left, self._queued = self._queued, []
            for queued in (*group, *left):  # there are none, unless we were ended
                queued.done.cancel()

    def _take(self) -> list[_QueuedItem]:
        total = 0
        for count, queued in enumerate(self._queued):
            total += queued.size
            crowded = count >= self._items_max or total > self._bytes_max
            if count and (crowded or queued.size > self._alone_bytes):
                break
            if queued.size > self._alone_bytes:
                count = 1  # noqa: PLW2901 - alone
                break
        else:
            count = len(self._queued)
        taken, self._queued = self._queued[:count], self._queued[count:]
        return taken

    async def _commit_group(self, group: list[_QueuedItem]) -> None:
        try:
            results = await self._commit([queued.item for queued in group])  # type: ignore[misc]
        except Exception as error:
            if len(group) == 1 or isinstance(error, Unavailable):
                for queued in group:
                    if not queued.done.done():
                        queued.done.set_exception(error)
                return
            for queued in group:
                await self._commit_group([queued])
            return
        for queued, result in zip(group, results, strict=True):
            if not queued.done.done():
                queued.done.set_result(result)
