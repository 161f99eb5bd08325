import asyncio
from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from contracts.kernel.v1.outbox_pb2 import Outgoing, OutgoingBatch
from kernel import outbox
from kernel.database import Database
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.outbox import (
    BACKGROUND_BYTES_MAX,
    ROW_BYTES_MAX,
    Outbox,
    OutboxEntry,
    OutboxRow,
    pack_rows,
)


class Broker:
    """Accepts records once it is available."""

    def __init__(self) -> None:
        self.is_unavailable = True
        self.received: list[Outgoing] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        if self.is_unavailable:
            raise Unavailable("kafka")
        self.received += records


def publish_after_response(box: Outbox, row: int, *, octets: int, health: DependencyHealth) -> None:
    """Publish as an API does after its response."""
    entry = OutboxEntry()
    box.register_row(entry, row, [Outgoing(topic=str(row))], octets=octets)
    box.publish_in_background(entry, health)


@pytest.mark.parametrize("octets", [100, 1_000_000])
async def test_a_long_outage_of_the_broker_does_not_fill_the_memory(octets: int) -> None:
    """The number of entries is bounded, whether they are large or small."""
    entries_max = BACKGROUND_BYTES_MAX // (octets + outbox.ENTRY_BYTES)

    broker, health = Broker(), DependencyHealth()
    box = Outbox(cast(Database, None), "ingest", broker.send)
    waiting = asyncio.all_tasks()
    for row in range(entries_max + 50):
        publish_after_response(box, row, octets=octets, health=health)
    assert len(asyncio.all_tasks() - waiting) == entries_max
    broker.is_unavailable = False
    while len(broker.received) < entries_max:  # the others are left to the sweep
        await asyncio.sleep(0.01)
    assert {record.topic for record in broker.received} == {str(row) for row in range(entries_max)}
    publish_after_response(
        box, entries_max, octets=octets, health=health
    )  # there is capacity again
    while len(broker.received) == entries_max:
        await asyncio.sleep(0)


def test_rows_beyond_the_memory_limit_are_left_to_the_sweep() -> None:
    box, entry = Outbox(cast(Database, None), "ingest", Broker().send), OutboxEntry()
    for row in range(100):
        box.register_row(entry, row, [Outgoing(topic=str(row))], octets=ROW_BYTES_MAX)
    assert entry.rows == list(range(outbox.ENTRY_BYTES_MAX // ROW_BYTES_MAX))
    assert [record.topic for record in entry.records] == [str(row) for row in entry.rows]


def pack(records: Sequence[Outgoing]) -> list[OutboxRow]:
    async def scenario() -> list[OutboxRow]:
        return [row async for row in pack_rows(records)]

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("count", "octets"), [(10_000, 900), (300, 64 * 1024), (3, 2_000_000), (7, 10), (100, 9_980)]
)
def test_rows_are_bounded_and_complete(count: int, octets: int) -> None:
    records = [Outgoing(topic=str(number), value=b"x" * octets) for number in range(count)]

    rows = pack(records)

    assert max(len(row.data) for row in rows) <= max(ROW_BYTES_MAX, octets + 100)
    assert sum(len(row.data) for row in rows) > (len(rows) - 1) * ROW_BYTES_MAX / 2  # and filled
    assert [row.last for row in rows] == [False] * (len(rows) - 1) + [True]
    assert [record for row in rows for record in row.records] == records
    assert [r for row in rows for r in OutgoingBatch.FromString(row.data).records] == records


def test_no_records_give_no_row() -> None:
    assert pack([]) == []


async def test_other_tasks_run_while_a_large_batch_is_encoded() -> None:
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

    other = asyncio.create_task(others())
    async for _ in pack_rows(encoded()):
        pass
    await other

    assert turns == list(range(outbox.STEP, 10_000, outbox.STEP))
