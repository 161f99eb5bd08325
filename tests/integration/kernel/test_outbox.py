"""The outbox on a real database, with a fake broker."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import psycopg
import pytest
import sqlalchemy as sa

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel.database import Database
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.outbox import ROW_BYTES_MAX, SWEEP_BYTES_MAX, Outbox, OutboxEntry, outbox_table

SCHEMA = "boxes"
LEADERLESS = "leaderless"


class OutboxBench:
    """One database, replicas with an outbox each, and the topics published, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.published: list[str] = []
        self.sent_bytes = 0
        self.send_started, self.acknowledges = asyncio.Event(), asyncio.Event()
        self.acknowledges.set()
        self.database = Database(url)
        self.health = DependencyHealth()
        self.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        self.execute(f"CREATE SCHEMA {SCHEMA}")
        engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        outbox_table(sa.MetaData(schema=SCHEMA)).create(engine)
        engine.dispose()

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.encode())

    def row_sizes(self) -> list[int]:
        """The size of each row in bytes."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(
                f"SELECT octet_length(records) FROM {SCHEMA}.outbox ORDER BY id".encode()
            )
            return [octets for (octets,) in found]

    def make_rows_due(self) -> None:
        """Make all rows due for the sweep, as after some time."""
        self.execute(f"UPDATE {SCHEMA}.outbox SET due_at = now() - interval '1 s'")

    def replica(self) -> Outbox:
        return Outbox(self.database, SCHEMA, self.send)

    async def write(self, outbox: Outbox, *topics: str) -> OutboxEntry:
        async with self.database.transaction() as tx:
            return await outbox.add(tx, [Outgoing(topic=topic) for topic in topics])

    async def fail(self, outbox: Outbox, *, response_lost: bool) -> None:
        """A transaction that is rolled back, or committed while the response is lost."""
        async with self.database.transaction() as tx:
            await outbox.add(tx, [Outgoing(topic="a")])
            if response_lost:
                await tx.connection.commit()
            raise ConnectionError

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.sent_bytes += sum(len(record.value) for record in records)
        self.send_started.set()
        await self.acknowledges.wait()
        if records[0].topic == LEADERLESS:
            raise Unavailable("kafka")
        self.published += [record.topic for record in records]


Scenario = Callable[[OutboxBench], Awaitable[None]]


@pytest.fixture
def run_scenario(database_url: str) -> Callable[[Scenario], None]:
    async def run(scenario: Scenario) -> None:
        bench = OutboxBench(database_url)
        try:
            async with asyncio.timeout(240):
                await scenario(bench)
        finally:
            await bench.database.close()

    return lambda scenario: asyncio.run(run(scenario))


def test_rolled_back_events_are_not_published(run_scenario: Callable[[Scenario], None]) -> None:
    async def scenario(bench: OutboxBench) -> None:
        outbox = bench.replica()
        with pytest.raises(ConnectionError):
            await bench.fail(outbox, response_lost=False)
        await outbox.sweep()
        assert (bench.published, bench.row_sizes()) == ([], [])

    run_scenario(scenario)


def test_events_of_a_commit_with_a_lost_response_are_published_by_the_sweep(
    run_scenario: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: OutboxBench) -> None:
        outbox = bench.replica()
        with pytest.raises(ConnectionError):
            await bench.fail(outbox, response_lost=True)
        bench.make_rows_due()
        await outbox.sweep()
        assert (bench.published, bench.row_sizes()) == (["a"], [])

    run_scenario(scenario)


def test_a_row_that_is_not_acknowledged_is_left_to_the_sweep(
    run_scenario: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: OutboxBench) -> None:
        outbox = bench.replica()
        entry = await bench.write(outbox, "a")
        bench.acknowledges.clear()
        publishing = asyncio.create_task(outbox.publish(entry, bench.health))
        await bench.send_started.wait()
        publishing.cancel()
        await asyncio.wait([publishing])
        bench.acknowledges.set()
        bench.make_rows_due()
        await outbox.sweep()
        assert (bench.published, bench.row_sizes()) == (["a"], [])

    run_scenario(scenario)


def test_a_large_transaction_becomes_rows_of_bounded_size(
    run_scenario: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: OutboxBench) -> None:
        outbox = bench.replica()
        async with bench.database.transaction() as tx:
            entry = await outbox.add(tx, new_records(3_000, octets=1_000))
        rows = bench.row_sizes()
        assert len(rows) == 4
        assert max(rows) <= ROW_BYTES_MAX
        assert (await outbox.backlog())[0] == 3_000
        await outbox.publish(entry, bench.health)
        await outbox.sweep()
        assert (len(bench.published), bench.row_sizes()) == (3_000, [])

    run_scenario(scenario)


def test_a_sweep_is_bounded_in_memory(run_scenario: Callable[[Scenario], None]) -> None:
    """After an outage all rows are published, in batches that are bounded in size."""

    async def scenario(bench: OutboxBench) -> None:
        gone = bench.replica()
        async with bench.database.transaction() as tx:
            await gone.add(tx, new_records(150, octets=64 * 1024))
        await bench.write(gone, "last")
        bench.make_rows_due()
        bench.acknowledges.clear()
        sweeping = asyncio.create_task(bench.replica().sweep())
        await bench.send_started.wait()
        assert SWEEP_BYTES_MAX - ROW_BYTES_MAX < bench.sent_bytes <= SWEEP_BYTES_MAX + ROW_BYTES_MAX
        bench.acknowledges.set()
        await sweeping
        assert (len(bench.published), bench.published[-1], bench.row_sizes()) == (151, "last", [])

    run_scenario(scenario)


def test_rows_that_one_replica_publishes_are_not_swept_by_another(
    run_scenario: Callable[[Scenario], None],
) -> None:
    """The broker takes longer to acknowledge than sweep_after_s."""

    async def scenario(bench: OutboxBench) -> None:
        slow, other = bench.replica(), bench.replica()
        entry = await bench.write(slow, "a")
        bench.acknowledges.clear()
        publishing = asyncio.create_task(slow.publish(entry, bench.health))
        await bench.send_started.wait()
        bench.make_rows_due()
        await slow.postpone_sweep()
        bench.acknowledges.set()  # a send of the other replica would be acknowledged at once
        await other.sweep()
        await publishing
        await slow.sweep()
        assert (bench.published, bench.row_sizes()) == (["a"], [])

    run_scenario(scenario)


def test_rows_that_one_replica_sweeps_are_not_swept_by_another(
    run_scenario: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: OutboxBench) -> None:
        slow, other = bench.replica(), bench.replica()
        await bench.write(bench.replica(), "a")
        bench.make_rows_due()
        bench.acknowledges.clear()
        sweeping = asyncio.create_task(slow.sweep())
        await bench.send_started.wait()
        bench.make_rows_due()
        await slow.postpone_sweep()
        bench.acknowledges.set()
        await other.sweep()
        await sweeping
        assert (bench.published, bench.row_sizes()) == (["a"], [])

    run_scenario(scenario)


def test_a_row_that_cannot_be_published_does_not_hold_back_others(
    run_scenario: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: OutboxBench) -> None:
        for topic in ("a", LEADERLESS, "b"):
            await bench.write(bench.replica(), topic)
        bench.make_rows_due()
        with pytest.raises(Unavailable):
            await bench.replica().sweep()
        assert (sorted(bench.published), len(bench.row_sizes())) == (["a", "b"], 1)

    run_scenario(scenario)


def new_records(count: int, *, octets: int) -> list[Outgoing]:
    return [Outgoing(topic="t", value=b"x" * octets) for _ in range(count)]
