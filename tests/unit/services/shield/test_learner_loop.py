"""The learner goes on after an outage, and the service is ready again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.processor import Record
from services.shield.loops.learner import LearnerLoop


class FailingLease:
    """Held. Its first transaction finds no database."""

    fence = 1

    def __init__(self) -> None:
        self.transactions = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["NoRows"]:
        self.transactions += 1
        if self.transactions == 1:
            raise Unavailable("postgresql")
        yield NoRows()


class NoRows:
    async def rows(self, *_: object, **__: object) -> list[object]:
        return []


class Reader:
    def __init__(self) -> None:
        self.reading = asyncio.Event()

    async def read(self) -> Sequence[Record]:
        self.reading.set()
        await asyncio.sleep(0)
        return []


class Fold:
    next_offset = 0


async def test_the_service_is_ready_while_it_learns_after_an_outage() -> None:
    health, reader = DependencyHealth(), Reader()

    @asynccontextmanager
    async def read_from(_: int) -> AsyncIterator[Reader]:
        yield reader

    lease, fold = cast("Any", FailingLease()), cast("Any", Fold())
    learning = LearnerLoop(lease, cast("Any", None), health, lambda _: fold, read_from)
    running = asyncio.create_task(learning.run())
    await asyncio.wait_for(reader.reading.wait(), 30)
    assert health.ready
    assert lease.transactions == 2
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
