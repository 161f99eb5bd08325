"""Group commit: a commit starts at once, and items that arrive meanwhile form the next group."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from kernel.batch_pacer import BatchPacer
from kernel.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")


class _QueuedItem(NamedTuple):
    item: object
    size: int
    done: asyncio.Future[object]


class GroupCommit(Generic[T, R]):
    """Items that are committed together share one transaction, one fsync.

    commit: takes the items of a group, returns one result per item, in order. If it raises, each
        item is committed alone, so that only the faulty item gets the error; if it raises
        Unavailable, all items get the error at once.
    items_max, bytes_max: limits of a group. An item larger than alone_bytes is committed alone.
    linger_s: maximum time under load from the start of a group to the start of the next.
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
        """0 when idle; otherwise 1 for the group being committed, plus the queued items."""
        return 0 if self._committer is None else 1 + len(self._queued)

    async def submit(self, item: T, *, size: int = 0) -> R:
        """Return the item's result when its group is durable; raises what the commit raised."""
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._queued.append(_QueuedItem(item, size, done))
        if self._committer is None:  # busy from now, not from the start of the task
            self._committer = asyncio.create_task(self._drain())
        return await done  # type: ignore[return-value]

    async def wait_idle(self) -> None:
        """Return when no item is queued or being committed."""
        while self._committer is not None:
            await asyncio.wait([self._committer])

    async def _drain(self) -> None:
        group: list[_QueuedItem] = []
        try:
            while self._queued:
                if len(self._queued) < self._items_max:
                    await self._pace.wait_turn()
                group = self._next_group()
                self._pace.start_batch(len(group))
                await self._commit_group(group)
        finally:
            self._committer = None
            left, self._queued = self._queued, []
            for queued in (*group, *left):  # empty unless this task was cancelled
                queued.done.cancel()

    def _next_group(self) -> list[_QueuedItem]:
        total = 0
        for count, queued in enumerate(self._queued):
            total += queued.size
            is_full = count >= self._items_max or total > self._bytes_max
            if count and (is_full or queued.size > self._alone_bytes):
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
