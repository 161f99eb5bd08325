import asyncio
from collections.abc import Sequence
from typing import cast

from contracts.kernel.v1.outbox_pb2 import Outgoing, OutgoingBatch
from kernel import outbox
from kernel.backoff import Health
from kernel.database import Database
from kernel.errors import Unavailable
from kernel.outbox import Outbox, together


class Broker:
    """Takes records unless it is away."""

    def __init__(self) -> None:
        self.away = True
        self.tries = 0
        self.taken: list[Outgoing] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.tries += 1
        if self.away:
            raise Unavailable("kafka")
        self.taken += records


def test_a_broker_that_is_away_for_long_does_not_fill_the_memory() -> None:
    async def story() -> None:
        broker, health = Broker(), Health()
        box = Outbox(cast(Database, None), "ingest", broker.send)
        waiting = asyncio.all_tasks()
        for row in range(outbox.BACKGROUND_MAX + 50):
            box.publish_soon(box.adopt(row, [Outgoing(topic=str(row))]), health)
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks() - waiting) == outbox.BACKGROUND_MAX
        broker.away = False
        while len(broker.taken) < outbox.BACKGROUND_MAX:  # the others are the sweep's
            await asyncio.sleep(0.01)
        assert {record.topic for record in broker.taken} == {
            str(row) for row in range(outbox.BACKGROUND_MAX)
        }

    asyncio.run(story())


def test_rows_that_a_crash_left_are_sent_in_groups() -> None:
    def row(count: int) -> bytes:
        return OutgoingBatch(records=[Outgoing(topic="t")] * count).SerializeToString()

    sizes = [
        (rows, len(records))
        for rows, records in together([(1, row(1500)), (2, row(600)), (3, row(1)), (4, row(1))])
    ]

    assert sizes == [([1, 2], 2100), ([3, 4], 2)]
    assert not list(together([]))
