"""The outbox on a real database, with a broker that is pretended."""

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


class Post:
    """One database, replicas with an outbox each, and what the broker was told, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.told: list[str] = []
        self.asked_bytes = 0
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()
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

    def rows(self) -> list[int]:
        """How long each is."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(
                f"SELECT octet_length(records) FROM {SCHEMA}.outbox ORDER BY id".encode()
            )
            return [octets for (octets,) in found]

    def let_time_pass(self) -> None:
        """All rows are due, unless somebody puts them off."""
        self.execute(f"UPDATE {SCHEMA}.outbox SET due_at = now() - interval '1 s'")

    def replica(self) -> Outbox:
        return Outbox(self.database, SCHEMA, self.send)

    async def write(self, outbox: Outbox, *topics: str) -> OutboxEntry:
        async with self.database.transaction() as tx:
            return await outbox.add(tx, [Outgoing(topic=topic) for topic in topics])

    async def fail(self, outbox: Outbox, *, answer_lost: bool) -> None:
        """A transaction that is rolled back, or was committed without its process knowing."""
        async with self.database.transaction() as tx:
            await outbox.add(tx, [Outgoing(topic="a")])
            if answer_lost:
                await tx.connection.commit()
            raise ConnectionError

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.asked_bytes += sum(len(record.value) for record in records)
        self.asked.set()
        await self.answers.wait()
        if records[0].topic == LEADERLESS:
            raise Unavailable("kafka")
        self.told += [record.topic for record in records]


Story = Callable[[Post], Awaitable[None]]


@pytest.fixture
def play(database_url: str) -> Callable[[Story], None]:
    async def played(story: Story) -> None:
        post = Post(database_url)
        try:
            async with asyncio.timeout(60):
                await story(post)
        finally:
            await post.database.close()

    return lambda story: asyncio.run(played(story))


def test_what_was_rolled_back_is_told_by_nobody(play: Callable[[Story], None]) -> None:
    async def story(post: Post) -> None:
        outbox = post.replica()
        with pytest.raises(ConnectionError):
            await post.fail(outbox, answer_lost=False)
        await outbox.sweep()
        assert (post.told, post.rows()) == ([], [])

    play(story)


def test_a_commit_whose_answer_is_lost_is_told_by_the_sweep(play: Callable[[Story], None]) -> None:
    async def story(post: Post) -> None:
        outbox = post.replica()
        with pytest.raises(ConnectionError):
            await post.fail(outbox, answer_lost=True)
        post.let_time_pass()
        await outbox.sweep()
        assert (post.told, post.rows()) == (["a"], [])

    play(story)


def test_a_row_that_is_not_told_in_the_end_is_left_to_the_sweep(
    play: Callable[[Story], None],
) -> None:
    async def story(post: Post) -> None:
        outbox = post.replica()
        entry = await post.write(outbox, "a")
        post.answers.clear()
        publishing = asyncio.create_task(outbox.publish(entry, post.health))
        await post.asked.wait()
        publishing.cancel()
        await asyncio.wait([publishing])
        post.answers.set()
        post.let_time_pass()
        await outbox.sweep()
        assert (post.told, post.rows()) == (["a"], [])

    play(story)


def test_a_large_transaction_becomes_rows_of_bounded_size(play: Callable[[Story], None]) -> None:
    async def story(post: Post) -> None:
        outbox = post.replica()
        async with post.database.transaction() as tx:
            entry = await outbox.add(tx, letters(3_000, octets=1_000))
        rows = post.rows()
        assert len(rows) == 4
        assert max(rows) <= ROW_BYTES_MAX
        assert (await outbox.backlog())[0] == 3_000
        await outbox.publish(entry, post.health)
        await outbox.sweep()
        assert (len(post.told), post.rows()) == (3_000, [])

    play(story)


def test_a_sweep_takes_no_more_than_memory_has_room_for(play: Callable[[Story], None]) -> None:
    """After an outage: as many as there are, in turns that are bounded by their octets."""

    async def story(post: Post) -> None:
        gone = post.replica()
        async with post.database.transaction() as tx:
            await gone.add(tx, letters(150, octets=64 * 1024))
        await post.write(gone, "last")
        post.let_time_pass()
        post.answers.clear()
        sweeping = asyncio.create_task(post.replica().sweep())
        await post.asked.wait()
        assert SWEEP_BYTES_MAX - ROW_BYTES_MAX < post.asked_bytes <= SWEEP_BYTES_MAX + ROW_BYTES_MAX
        post.answers.set()
        await sweeping
        assert (len(post.told), post.told[-1], post.rows()) == (151, "last", [])

    play(story)


def test_what_one_replica_still_publishes_no_other_sweeps(play: Callable[[Story], None]) -> None:
    """The broker takes longer to acknowledge than rows are left alone."""

    async def story(post: Post) -> None:
        slow, other = post.replica(), post.replica()
        entry = await post.write(slow, "a")
        post.answers.clear()
        publishing = asyncio.create_task(slow.publish(entry, post.health))
        await post.asked.wait()
        post.let_time_pass()
        await slow.postpone_sweep()
        post.answers.set()  # the other's would be answered at once
        await other.sweep()
        await publishing
        await slow.sweep()
        assert (post.told, post.rows()) == (["a"], [])

    play(story)


def test_what_one_replica_sweeps_no_other_sweeps(play: Callable[[Story], None]) -> None:
    async def story(post: Post) -> None:
        slow, other = post.replica(), post.replica()
        await post.write(post.replica(), "a")
        post.let_time_pass()
        post.answers.clear()
        sweeping = asyncio.create_task(slow.sweep())
        await post.asked.wait()
        post.let_time_pass()
        await slow.postpone_sweep()
        post.answers.set()
        await other.sweep()
        await sweeping
        assert (post.told, post.rows()) == (["a"], [])

    play(story)


def test_a_row_that_cannot_be_told_keeps_no_other_from_it(play: Callable[[Story], None]) -> None:
    async def story(post: Post) -> None:
        for topic in ("a", LEADERLESS, "b"):
            await post.write(post.replica(), topic)
        post.let_time_pass()
        with pytest.raises(Unavailable):
            await post.replica().sweep()
        assert (sorted(post.told), len(post.rows())) == (["a", "b"], 1)

    play(story)


def letters(count: int, *, octets: int) -> list[Outgoing]:
    return [Outgoing(topic="t", value=b"x" * octets) for _ in range(count)]
