import asyncio
from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from contracts.kernel.v1.outbox_pb2 import Outgoing, OutgoingBatch
from kernel import outbox
from kernel.database import Database
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.outbox import BACKGROUND_BYTES_MAX, ROW_BYTES_MAX, Outbox, OutboxEntry, Row, pack_rows


class Broker:
    """Takes records unless it is away."""

    def __init__(self) -> None:
        self.away = True
        self.taken: list[Outgoing] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        if self.away:
            raise Unavailable("kafka")
        self.taken += records


def accept(box: Outbox, row: int, *, octets: int, health: DependencyHealth) -> None:
    """What a door does that has answered."""
    entry = OutboxEntry()
    box.register(entry, row, [Outgoing(topic=str(row))], octets=octets)
    box.publish_in_background(entry, health)


@pytest.mark.parametrize("octets", [100, 1_000_000])
def test_a_broker_that_is_away_for_long_does_not_fill_the_memory(octets: int) -> None:
    """Large entries are few, and small ones are not without number either."""
    room = BACKGROUND_BYTES_MAX // (octets + outbox.ENTRY_BYTES)

    async def story() -> None:
        broker, health = Broker(), DependencyHealth()
        box = Outbox(cast(Database, None), "ingest", broker.send)
        waiting = asyncio.all_tasks()
        for row in range(room + 50):
            accept(box, row, octets=octets, health=health)
        assert len(asyncio.all_tasks() - waiting) == room
        broker.away = False
        while len(broker.taken) < room:  # the others are the sweep's
            await asyncio.sleep(0.01)
        assert {record.topic for record in broker.taken} == {str(row) for row in range(room)}
        accept(box, room, octets=octets, health=health)  # there is room again
        while len(broker.taken) == room:
            await asyncio.sleep(0)

    asyncio.run(story())


def test_of_a_transaction_too_large_for_memory_the_rest_is_the_sweeps() -> None:
    box, entry = Outbox(cast(Database, None), "ingest", Broker().send), OutboxEntry()
    for row in range(100):
        box.register(entry, row, [Outgoing(topic=str(row))], octets=ROW_BYTES_MAX)
    assert entry.rows == list(range(outbox.ENTRY_BYTES_MAX // ROW_BYTES_MAX))
    assert [record.topic for record in entry.records] == [str(row) for row in entry.rows]


def pack(records: Sequence[Outgoing]) -> list[Row]:
    async def story() -> list[Row]:
        return [row async for row in pack_rows(records)]

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("count", "octets"), [(10_000, 900), (300, 64 * 1024), (3, 2_000_000), (7, 10), (100, 9_980)]
)
def test_rows_are_bounded_and_lose_nothing(count: int, octets: int) -> None:
    records = [Outgoing(topic=str(number), value=b"x" * octets) for number in range(count)]

    rows = pack(records)

    assert max(len(row.data) for row in rows) <= max(ROW_BYTES_MAX, octets + 100)
    assert sum(len(row.data) for row in rows) > (len(rows) - 1) * ROW_BYTES_MAX / 2  # and filled
    assert [row.last for row in rows] == [False] * (len(rows) - 1) + [True]
    assert [record for row in rows for record in row.records] == records
    assert [r for row in rows for r in OutgoingBatch.FromString(row.data).records] == records


def test_nothing_is_packed_into_no_row() -> None:
    assert pack([]) == []


def test_who_else_is_there_has_a_turn_while_a_large_batch_is_encoded() -> None:
    turns: list[int] = []
    made = 0

    def encoded() -> Iterator[Outgoing]:
        nonlocal made
        for _ in range(10_000):
            made += 1
            yield Outgoing(topic="t")

    async def others() -> None:
        while made < 10_000:
            turns.append(made)
            await asyncio.sleep(0)

    async def story() -> None:
        other = asyncio.create_task(others())
        async for _ in pack_rows(encoded()):
            pass
        await other

    asyncio.run(story())
    assert turns == list(range(outbox.STEP, 10_000, outbox.STEP))
