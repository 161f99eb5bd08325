"""Streams begin where they should, whatever other streams did before."""

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import Any, cast
from uuid import UUID

import pytest

from kernel import clock
from kernel.database import Database
from kernel.health import DependencyHealth
from kernel.ids import MAX, NIL
from services.events.api import event_feed
from services.events.api.event_feed import EventFeed
from services.events.api.event_streams import position_after


class StalledTransactions:
    """A database whose transactions last until they may end."""

    def __init__(self) -> None:
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def transaction(self) -> Any:  # noqa: ANN401 - an iterator
        self.began.set()
        yield self
        await self.may_end.wait()

    async def rows(self, _: str) -> list[tuple[int, int]]:
        return [(7, 7)]


def test_a_new_stream_does_not_start_where_the_last_one_left_during_a_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(event_feed, "POLL_S", 0.001)
        monkeypatch.setattr(clock, "now_ms", lambda: 1_000_000)
        database = StalledTransactions()
        feed = EventFeed(cast(Database, database), DependencyHealth())
        running = asyncio.ensure_future(feed.run())
        reader = asyncio.ensure_future(feed.reading().__aenter__())
        await database.began.wait()
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
        database.may_end.set()
        await asyncio.sleep(0.05)
        assert feed.bound == NIL
        monkeypatch.setattr(clock, "now_ms", lambda: 9_000_000)
        async with feed.reading():
            assert feed.bound.int >> 80 > 8_000_000
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(scenario())


@pytest.mark.parametrize(("after", "following"), [(NIL, UUID(int=1)), (MAX, MAX)])
def test_every_position_has_a_next_one(after: UUID, following: UUID) -> None:
    assert position_after(str(after)) == following
