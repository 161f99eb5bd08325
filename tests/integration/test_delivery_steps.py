"""The journal's statements by themselves: what a group of steps moves, and what it leaves alone."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from contracts.kernel.v1.outbox_pb2 import OutgoingBatch
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Database
from kernel.ids import uuid7_text
from services.delivery.app import GENERIC
from services.delivery.domain.attempt_result import (
    END_OF_DATA,
    STALE,
    AttemptResult,
    attempted_event,
)
from services.delivery.domain.owned_attempt import AttemptKey
from services.delivery.loops.committer import finished_attempt
from services.delivery.store.journal import (
    AttemptClaim,
    BeginResult,
    EpochExpired,
    FinishedAttempt,
    Journal,
)
from services.delivery.store.workers import WorkerRegistration
from tests.support.stack import FreshDatabase

UNSURE = AttemptResult(END_OF_DATA, problem="no answer")


class Book:
    """A journal with a worker that is registered."""

    def __init__(self, database: Database, rows: FreshDatabase) -> None:
        self.database = database
        self.rows = rows
        self.journal = Journal()
        self.worker = WorkerRegistration(database, "here")

    async def begin(self, *batch: DeliveryAssigned) -> list[BeginResult | None]:
        keyed = {key(one): one for one in batch}
        async with self.database.transaction() as tx:
            begun = await self.journal.begin(tx, keyed, epoch=self.worker.epoch)
        return [begun.get(one) for one in keyed]

    async def commit(self, *steps: AttemptClaim | FinishedAttempt) -> tuple[list[bool], int | None]:
        return await self.journal.commit(self.database, steps, sweep_after_s=60)

    def claim(
        self, one: DeliveryAssigned, *, others: bool = False, resumed: bool = False
    ) -> AttemptClaim:
        return AttemptClaim(key(one), self.worker.epoch + others, resumed)

    def done(self, one: DeliveryAssigned, result: AttemptResult = UNSURE) -> FinishedAttempt:
        return finished_attempt(self.claim(one), attempted_event(one, result, at_ms=1), "")

    def row(self, one: DeliveryAssigned) -> tuple[object, ...] | None:
        with self.rows.connect() as owner:
            return owner.execute(
                "SELECT stage, outcome, ambiguous, attempted, length(assignment)"
                " FROM delivery.attempts WHERE message_id = %s",
                (one.message_id,),
            ).fetchone()

    def run_story(self, row: int) -> list[bytes]:
        with self.rows.connect() as owner:
            found = owner.execute("SELECT records FROM delivery.outbox WHERE id = %s", (row,))
            [(records,)] = found.fetchall()
        assert isinstance(records, bytes)
        return [one.value for one in OutgoingBatch.FromString(records).records]


def assigned(*, in_s: float = 60.0, days_ago: int = 0) -> DeliveryAssigned:
    made = DeliveryAssigned(message_id=uuid7_text(), attempt=1)
    if days_ago:
        ms = int(made.message_id.replace("-", "")[:12], 16) - days_ago * 24 * 3600 * 1000
        made.message_id = f"{ms:012x}"[:8] + "-" + f"{ms:012x}"[8:] + made.message_id[13:]
    made.context.tenant_id = uuid7_text()
    made.not_after.FromDatetime(datetime.now(UTC) + timedelta(seconds=in_s))
    return made


def key(one: DeliveryAssigned) -> AttemptKey:
    return AttemptKey(one.message_id, one.attempt)


Story = Callable[[Book], Awaitable[None]]


@pytest.fixture
def run_story(database: FreshDatabase) -> Callable[[Story], None]:
    async def tell(story: Story) -> None:
        own = Database(database.system("delivery"), session=GENERIC)
        book = Book(own, database)
        try:
            await book.worker.register_or_renew()
            await story(book)
        finally:
            await own.close()

    return lambda story: asyncio.run(tell(story))


RunStory = Callable[[Story], None]


def test_a_group_moves_each_to_its_own_step_and_tells_the_ends_alone(run_story: RunStory) -> None:
    async def story(book: Book) -> None:
        sent, ended = assigned(), assigned(days_ago=1)  # in the partitions of two days
        assert await book.begin(sent, ended)
        end = book.done(ended)
        moved, row = await book.commit(book.claim(sent), end)
        assert moved == [True, True]
        assert row is not None
        assert book.run_story(row) == [end.event.SerializeToString()]
        size = len(sent.SerializeToString())
        assert book.row(sent) == ("data_sent", None, False, None, size)
        event = end.event.SerializeToString()
        assert book.row(ended) == ("done", "ambiguous", True, event, 0)

    run_story(story)


def test_who_is_not_the_holder_moves_nothing_and_spoils_nobody(run_story: RunStory) -> None:
    async def story(book: Book) -> None:
        mine, taken = assigned(), assigned()
        await book.begin(mine, taken)
        moved, row = await book.commit(book.claim(taken, others=True), book.claim(mine))
        assert moved == [False, True]
        assert row is None
        found = book.row(taken)
        assert found is not None
        assert found[0] == "started"

    run_story(story)


def test_a_step_is_taken_once_but_by_the_holder_who_was_not_told(run_story: RunStory) -> None:
    async def story(book: Book) -> None:
        one = assigned()
        await book.begin(one)
        assert await book.commit(book.claim(one)) == ([True], None)
        assert await book.commit(book.claim(one)) == ([False], None)
        assert await book.commit(book.claim(one, resumed=True)) == ([True], None)

    run_story(story)


def test_what_is_done_stays_as_it_is(run_story: RunStory) -> None:
    async def story(book: Book) -> None:
        one = assigned()
        await book.begin(one)
        await book.commit(book.done(one))
        kept = book.row(one)
        late: list[AttemptClaim | FinishedAttempt] = [
            book.done(one, STALE),
            book.claim(one),
            book.claim(one, resumed=True),
        ]
        for step in late:
            assert await book.commit(step) == ([False], None)
        assert book.row(one) == kept

    run_story(story)


def test_what_was_begun_before_is_known_by_who_has_it(run_story: RunStory) -> None:
    async def story(book: Book) -> None:
        begun, sent, ended, late = assigned(), assigned(), assigned(), assigned(in_s=-5)
        first = await book.begin(begun, sent, ended, late)
        assert [one.is_new and one.is_ours for one in first if one] == [True, True, True, False]
        end = book.done(ended)
        await book.commit(book.claim(sent), end)
        new = assigned()
        again = [one for one in await book.begin(new, begun, sent, ended, late) if one]
        assert [one.is_new for one in again] == [True, False, False, False, False]
        assert [one.is_ours for one in again] == [True, True, False, False, False]
        assert [one.outcome for one in again] == [None, None, None, "ambiguous", "stale"]
        assert again[3].attempted == end.event.SerializeToString()
        assert 0 < again[1].left_s <= 60

    run_story(story)


def test_a_dead_worker_begins_nothing(run_story: RunStory) -> None:
    async def story(book: Book) -> None:
        one = assigned()
        with book.rows.connect() as owner:
            owner.execute("UPDATE delivery.workers SET expired = true")
        with pytest.raises(EpochExpired):
            await book.begin(one)
        assert book.row(one) is None

    run_story(story)
