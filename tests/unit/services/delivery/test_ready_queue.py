"""The queue of one egress source and site lets express mail begin beside bulk mail."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS, Priority
from contracts.router.v1.events_pb2 import DeliveryAssigned
from services.delivery.clients.smtp.pool import ConnectionPool
from services.delivery.domain.owned_attempt import AttemptKey, OwnedAttempt
from services.delivery.domain.priority_queue import EXPRESS_WEIGHT
from services.delivery.loops.ready_queue import ADD_TASKS_AFTER_S, ReadyQueue

BULK, EXPRESS = PRIORITY_BULK, PRIORITY_EXPRESS


def attempt(name: str, priority: "Priority.ValueType") -> OwnedAttempt:
    return OwnedAttempt(AttemptKey(name, 1), DeliveryAssigned(priority=priority), 1, 0.0)


class SlowBulk:
    """A ready queue whose bulk attempts last until the end. begun: names of attempts."""

    def __init__(self, connections_max: int) -> None:
        self.begun: list[str] = []
        self.ends = asyncio.Event()
        pool = cast(ConnectionPool, SimpleNamespace(connections_max=connections_max))
        self.queue = ReadyQueue(self._process, pool)

    async def _process(self, _: ReadyQueue, one: OwnedAttempt) -> None:
        self.begun.append(one.key.message_id)
        if not one.is_express:
            await self.ends.wait()

    async def add(self, name: str, priority: "Priority.ValueType") -> None:
        self.queue.enqueue(attempt(name, priority))
        for _ in range(3):
            await asyncio.sleep(0)


@asynccontextmanager
async def busy_with_bulk(connections_max: int) -> AsyncIterator[SlowBulk]:
    """Each of its connections has a bulk attempt, and one more waits. At the end, all begin."""
    slow = SlowBulk(connections_max)
    names = [f"bulk{n}" for n in range(connections_max + 1)]
    for name in names:
        await slow.add(name, BULK)
    await asyncio.sleep(2 * ADD_TASKS_AFTER_S)
    assert slow.begun == names[:-1]
    yield slow
    slow.ends.set()
    await slow.queue.wait_done()
    assert {*names} <= {*slow.begun}
    assert slow.queue._queued.clear() == []


@pytest.mark.parametrize("connections_max", [1, 2, 5])
async def test_express_mail_begins_while_bulk_mail_has_all_connections(
    connections_max: int,
) -> None:
    async with busy_with_bulk(connections_max) as slow:
        for n in range(EXPRESS_WEIGHT * 2 + 1):
            await slow.add(f"express{n}", EXPRESS)
            assert slow.begun[connections_max:] == [f"express{i}" for i in range(n + 1)]


async def test_the_attempt_beyond_the_connections_is_of_express_mail_alone() -> None:
    async with busy_with_bulk(2) as slow:
        await slow.add("express", EXPRESS)
        await slow.add("more", BULK)
        await asyncio.sleep(2 * ADD_TASKS_AFTER_S)
        assert slow.begun == ["bulk0", "bulk1", "express"]
    assert "more" in slow.begun


async def test_bulk_attempts_that_end_together_leave_no_connection_unused() -> None:
    running, ends = set[str](), {True: asyncio.Event(), False: asyncio.Event()}

    async def process(_: ReadyQueue, one: OwnedAttempt) -> None:
        running.add(one.key.message_id)
        await ends[one.is_express].wait()
        running.discard(one.key.message_id)

    pool = cast(ConnectionPool, SimpleNamespace(connections_max=3))
    queue = ReadyQueue(process, pool)
    for n in range(9):
        queue.enqueue(attempt(f"bulk{n}", BULK))
    await asyncio.sleep(2 * ADD_TASKS_AFTER_S)
    queue.enqueue(attempt("express", EXPRESS))
    await asyncio.sleep(0)
    assert running == {"bulk0", "bulk1", "bulk2", "express"}
    ended, ends[False] = ends[False], asyncio.Event()
    ended.set()
    await asyncio.sleep(ADD_TASKS_AFTER_S)
    assert running == {"bulk3", "bulk4", "express"}
    ends[True].set()
    await asyncio.sleep(ADD_TASKS_AFTER_S)
    assert running == {"bulk3", "bulk4", "bulk5"}
    ends[False].set()
    await queue.wait_done()
