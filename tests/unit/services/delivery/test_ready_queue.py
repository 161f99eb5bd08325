"""The queue of one egress source and site gives express mail a connection of its own."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS, Priority
from contracts.router.v1.events_pb2 import DeliveryAssigned
from services.delivery.clients.smtp.pool import ConnectionPool
from services.delivery.domain.owned_attempt import AttemptKey, OwnedAttempt
from services.delivery.loops.ready_queue import ReadyQueue


def attempt(name: str, priority: "Priority.ValueType") -> OwnedAttempt:
    return OwnedAttempt(AttemptKey(name, 1), DeliveryAssigned(priority=priority), 1, 0.0)


@pytest.mark.parametrize(("connections_max", "begins"), [(2, True), (1, False)])
async def test_the_first_express_attempt_begins_beside_bulk_mail(
    connections_max: int, begins: bool
) -> None:
    begun: list[str] = []
    release = asyncio.Event()

    async def process(_: ReadyQueue, one: OwnedAttempt) -> None:
        begun.append(one.key.message_id)
        await release.wait()

    pool = cast(ConnectionPool, SimpleNamespace(connections_max=connections_max))
    queue = ReadyQueue(process, pool)
    for name in ("bulk1", "bulk2"):
        queue.enqueue(attempt(name, PRIORITY_BULK))
    await asyncio.sleep(0)
    queue.enqueue(attempt("express", PRIORITY_EXPRESS))
    await asyncio.sleep(0)
    assert begun == (["bulk1", "express"] if begins else ["bulk1"])
    release.set()
    while queue._tasks:
        await asyncio.sleep(0)
    assert sorted(begun) == ["bulk1", "bulk2", "express"]
