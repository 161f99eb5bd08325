"""The statements of the journal: which steps of a group are applied, and which are not."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from contracts.kernel.v1.outbox_pb2 import OutgoingBatch
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Database
from kernel.ids import uuid7_text
from services.delivery.app import SESSION_SETTINGS
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
    BeginAttemptResult,
    EpochExpired,
    FinishedAttempt,
    Journal,
)
from services.delivery.store.workers import WorkerRegistration
from tests.support.stack import FreshDatabase

AMBIGUOUS = AttemptResult(END_OF_DATA, problem="no reply")


class JournalHarness:
    """A journal with a registered worker."""

    def __init__(self, database: Database, rows: FreshDatabase) -> None:
        self.database = database
        self.rows = rows
        self.journal = Journal()
        self.worker = WorkerRegistration(database, "here")

    async def begin(self, *batch: DeliveryAssigned) -> list[BeginAttemptResult | None]:
        by_key = {key(one): one for one in batch}
        async with self.database.transaction() as tx:
            begun = await self.journal.begin(tx, by_key, epoch=self.worker.epoch)
        return [begun.get(one) for one in by_key]

    async def commit(self, *steps: AttemptClaim | FinishedAttempt) -> tuple[list[bool], int | None]:
        return await self.journal.commit(self.database, steps, sweep_after_s=60)

    def claim(
        self, one: DeliveryAssigned, *, other_epoch: bool = False, resumed: bool = False
    ) -> AttemptClaim:
        return AttemptClaim(key(one), self.worker.epoch + other_epoch, resumed)

    def finished(self, one: DeliveryAssigned, result: AttemptResult = AMBIGUOUS) -> FinishedAttempt:
        return finished_attempt(self.claim(one), attempted_event(one, result, at_ms=1), "")

    def row(self, one: DeliveryAssigned) -> tuple[object, ...] | None:
        with self.rows.connect() as owner:
            return owner.execute(
                "SELECT stage, outcome, ambiguous, attempted, length(assignment)"
                " FROM delivery.attempts WHERE message_id = %s",
                (one.message_id,),
            ).fetchone()

    def records(self, row: int) -> list[bytes]:
        with self.rows.connect() as owner:
            found = owner.execute("SELECT records FROM delivery.outbox WHERE id = %s", (row,))
            [(records,)] = found.fetchall()
        assert isinstance(records, bytes)
        return [one.value for one in OutgoingBatch.FromString(records).records]


def make_assignment(*, in_s: float = 60.0, days_ago: int = 0) -> DeliveryAssigned:
    assignment = DeliveryAssigned(message_id=uuid7_text(), attempt=1)
    if days_ago:
        ms = int(assignment.message_id.replace("-", "")[:12], 16) - days_ago * 24 * 3600 * 1000
        assignment.message_id = (
            f"{ms:012x}"[:8] + "-" + f"{ms:012x}"[8:] + assignment.message_id[13:]
        )
    assignment.context.tenant_id = uuid7_text()
    assignment.not_after.FromDatetime(datetime.now(UTC) + timedelta(seconds=in_s))
    return assignment


def key(one: DeliveryAssigned) -> AttemptKey:
    return AttemptKey(one.message_id, one.attempt)


Scenario = Callable[[JournalHarness], Awaitable[None]]


@pytest.fixture
def run_scenario(database: FreshDatabase) -> Callable[[Scenario], None]:
    async def run(scenario: Scenario) -> None:
        own = Database(database.system("delivery"), session=SESSION_SETTINGS)
        harness = JournalHarness(own, database)
        try:
            await harness.worker.register_or_renew()
            await scenario(harness)
        finally:
            await own.close()

    return lambda scenario: asyncio.run(run(scenario))


RunScenario = Callable[[Scenario], None]


def test_a_group_applies_each_step_and_publishes_only_outcomes(run_scenario: RunScenario) -> None:
    async def scenario(harness: JournalHarness) -> None:
        sent, ended = make_assignment(), make_assignment(days_ago=1)  # in two day partitions
        assert await harness.begin(sent, ended)
        end = harness.finished(ended)
        applied, row = await harness.commit(harness.claim(sent), end)
        assert applied == [True, True]
        assert row is not None
        assert harness.records(row) == [end.event.SerializeToString()]
        size = len(sent.SerializeToString())
        assert harness.row(sent) == ("data_sent", None, False, None, size)
        event = end.event.SerializeToString()
        assert harness.row(ended) == ("done", "ambiguous", True, event, 0)

    run_scenario(scenario)


def test_a_step_of_another_epoch_is_not_applied_and_affects_no_other_step(
    run_scenario: RunScenario,
) -> None:
    async def scenario(harness: JournalHarness) -> None:
        mine, received = make_assignment(), make_assignment()
        await harness.begin(mine, received)
        applied, row = await harness.commit(
            harness.claim(received, other_epoch=True), harness.claim(mine)
        )
        assert applied == [False, True]
        assert row is None
        found = harness.row(received)
        assert found is not None
        assert found[0] == "started"

    run_scenario(scenario)


def test_a_step_is_applied_once_unless_a_resumed_attempt_repeats_it(
    run_scenario: RunScenario,
) -> None:
    async def scenario(harness: JournalHarness) -> None:
        one = make_assignment()
        await harness.begin(one)
        assert await harness.commit(harness.claim(one)) == ([True], None)
        assert await harness.commit(harness.claim(one)) == ([False], None)
        assert await harness.commit(harness.claim(one, resumed=True)) == ([True], None)

    run_scenario(scenario)


def test_a_finished_attempt_is_never_changed(run_scenario: RunScenario) -> None:
    async def scenario(harness: JournalHarness) -> None:
        one = make_assignment()
        await harness.begin(one)
        await harness.commit(harness.finished(one))
        finished_row = harness.row(one)
        late: list[AttemptClaim | FinishedAttempt] = [
            harness.finished(one, STALE),
            harness.claim(one),
            harness.claim(one, resumed=True),
        ]
        for step in late:
            assert await harness.commit(step) == ([False], None)
        assert harness.row(one) == finished_row

    run_scenario(scenario)


def test_a_repeated_begin_reports_the_existing_rows(run_scenario: RunScenario) -> None:
    async def scenario(harness: JournalHarness) -> None:
        begun, sent, ended, late = (
            make_assignment(),
            make_assignment(),
            make_assignment(),
            make_assignment(in_s=-5),
        )
        first = await harness.begin(begun, sent, ended, late)
        assert [one.is_new and one.is_ours for one in first if one] == [True, True, True, False]
        end = harness.finished(ended)
        await harness.commit(harness.claim(sent), end)
        new = make_assignment()
        again = [one for one in await harness.begin(new, begun, sent, ended, late) if one]
        assert [one.is_new for one in again] == [True, False, False, False, False]
        assert [one.is_ours for one in again] == [True, True, False, False, False]
        assert [one.outcome for one in again] == [None, None, None, "ambiguous", "stale"]
        assert again[3].attempted == end.event.SerializeToString()
        assert 0 < again[1].left_s <= 60

    run_scenario(scenario)


def test_an_expired_worker_cannot_begin_attempts(run_scenario: RunScenario) -> None:
    async def scenario(harness: JournalHarness) -> None:
        one = make_assignment()
        with harness.rows.connect() as owner:
            owner.execute("UPDATE delivery.workers SET expired = true")
        with pytest.raises(EpochExpired):
            await harness.begin(one)
        assert harness.row(one) is None

    run_scenario(scenario)
