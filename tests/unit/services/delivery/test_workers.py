"""When a worker may expire others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from kernel import clock
from kernel.database import Database
from services.delivery.store.workers import WorkerRegistration


class Registry:
    """A database in which every renewal succeeds."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Registry"]:
        yield self

    async def execute(self, *_: object) -> int:
        return 1

    async def rows(self, *_: object) -> list[tuple[int]]:
        return [(1,)]


@pytest.fixture
def at_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    return now


def test_only_a_worker_that_renews_without_a_gap_is_steady(at_s: list[float]) -> None:
    worker = WorkerRegistration(cast(Database, Registry()), "here", lease_s=3.0)

    def renew_at(second: float) -> bool:
        at_s[0] = second
        asyncio.run(worker.register_or_renew())
        return worker.is_steady

    assert [renew_at(second) for second in (100, 101, 102, 103)] == [False, False, False, True]
    at_s[0] = 110.0  # the database was away, and the recovery loop runs before the next renewal
    assert not worker.is_steady
    assert [renew_at(second) for second in (110, 112, 113)] == [False, False, True]
