"""The journal: which worker may send an attempt, and whether end of data may have been sent."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC
from functools import partial
from uuid import UUID

import psycopg
import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.router.v1.events_pb2 import DeliveryAssigned
from tests.support.delivery import Harness, Running
from tests.support.polling import until
from tests.support.smtp_peer import Act, SmtpPeer
from tests.support.stack import harness_fixture

SETTINGS = {"recovery_interval_s": 0.1, "worker_lease_s": 3.0, "orphan_after_s": 0.5}


harness = harness_fixture(partial(Harness, settings=SETTINGS), scope="module")


def insert_worker(harness: Harness, *, expired: bool) -> int:
    """Register another worker; returns its epoch."""
    with harness.database.connect() as owner:
        row = owner.execute(
            "INSERT INTO delivery.workers (name, expires_at, expired)"
            " VALUES ('another', now() + interval '1 hour', %s) RETURNING epoch",
            (expired,),
        ).fetchone()
        assert row is not None
        return int(str(row[0]))


def insert_attempt(
    harness: Harness, assignment: DeliveryAssigned, *, epoch: int, stage: str
) -> None:
    """Insert an open row of a worker."""
    with harness.database.connect() as owner:
        owner.execute(
            "INSERT INTO delivery.attempts"
            " (message_id, attempt, tenant_id, epoch, stage, not_after, assignment)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (
                assignment.message_id,
                assignment.attempt,
                harness.tenant_id,
                epoch,
                stage,
                assignment.not_after.ToDatetime(UTC),
                assignment.SerializeToString(),
            ),
        )


Owner = psycopg.Connection[tuple[object, ...]]


def update_attempt(
    harness: Harness, assignment: DeliveryAssigned, values: str, *, owner: Owner | None = None
) -> None:
    """Update a row as another process does, on a new connection or on one that holds a lock."""
    statement = f"UPDATE delivery.attempts SET {values} WHERE message_id = %s".encode()
    with harness.database.connect() as mine:
        (owner or mine).execute(statement, (assignment.message_id,))


def row(harness: Harness, assignment: DeliveryAssigned) -> tuple[object, ...] | None:
    with harness.database.connect() as owner:
        return owner.execute(
            "SELECT stage, outcome, ambiguous FROM delivery.attempts WHERE message_id = %s",
            (assignment.message_id,),
        ).fetchone()


Scenario = Callable[[SmtpPeer, Running], Awaitable[None]]


@pytest.fixture(scope="module")
def run_scenario(harness: Harness) -> Iterator[Callable[..., None]]:
    """Run a scenario with a scripted mail server, and the service that all tests share."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        running = runner.run(stack.enter_async_context(harness.running()))

        def run(scenario: Scenario, **acts: Act) -> None:
            async def main() -> None:
                async with SmtpPeer(acts) as peer:
                    await scenario(peer, running)

            runner.run(main())

        yield run
        runner.run(stack.aclose())


RunScenario = Callable[..., None]


def test_a_started_attempt_of_an_expired_worker_is_sent_by_another(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        [one] = await harness.assign("a@receiver.example", at=peer.address)
        insert_attempt(harness, one, epoch=insert_worker(harness, expired=True), stage="started")
        [result] = await running.topics.results([one])
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == 1

    run_scenario(scenario)


def test_an_overdue_attempt_of_an_expired_worker_is_stale(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        [one] = await harness.assign("a@receiver.example", at=peer.address, in_s=-1)
        insert_attempt(harness, one, epoch=insert_worker(harness, expired=True), stage="started")
        [result] = await running.topics.results([one])
        assert result.outcome == events.ATTEMPT_OUTCOME_STALE
        assert not result.connected
        assert not result.ambiguous
        assert not peer.connections

    run_scenario(scenario)


def test_an_attempt_past_data_sent_of_an_expired_worker_is_ambiguous_and_not_sent_again(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        [one] = await harness.assign("a@receiver.example", at=peer.address)
        insert_attempt(harness, one, epoch=insert_worker(harness, expired=True), stage="data_sent")
        [result] = await running.topics.results([one])
        assert result.outcome == events.ATTEMPT_OUTCOME_AMBIGUOUS
        assert result.ambiguous
        assert not peer.connections
        assert row(harness, one) == ("done", "ambiguous", True)

    run_scenario(scenario)


def test_an_attempt_of_a_live_worker_is_not_taken_over(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        [one] = await harness.assign("a@receiver.example", at=peer.address)
        insert_attempt(harness, one, epoch=insert_worker(harness, expired=False), stage="data_sent")
        assert await running.topics.results([one], within_s=1.0) == []
        assert row(harness, one) == ("data_sent", None, False)

    run_scenario(scenario)


def test_the_attempts_of_a_worker_that_does_not_renew_are_taken_over(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        epoch = insert_worker(harness, expired=False)
        [one] = await harness.assign("a@receiver.example", at=peer.address)
        insert_attempt(harness, one, epoch=epoch, stage="started")
        with harness.database.connect() as owner:
            owner.execute(
                "UPDATE delivery.workers SET expires_at = now() - interval '1 s' WHERE epoch = %s",
                (epoch,),
            )
        [result] = await running.topics.results([one])
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED

    run_scenario(scenario)


def test_overdue_orphans_of_a_live_worker_are_finished(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        with harness.database.connect() as owner:
            found = owner.execute(
                "SELECT max(epoch) FROM delivery.workers WHERE NOT expired AND name <> 'another'"
            ).fetchone()
            assert found is not None
        begun, sent = await harness.assign(
            "a@receiver.example", "b@receiver.example", at=peer.address, in_s=0.1
        )
        insert_attempt(harness, begun, epoch=int(str(found[0])), stage="started")
        insert_attempt(harness, sent, epoch=int(str(found[0])), stage="data_sent")
        results = {one.recipient: one for one in await running.topics.results([begun, sent])}
        assert results["a@receiver.example"].outcome == events.ATTEMPT_OUTCOME_STALE
        assert results["b@receiver.example"].outcome == events.ATTEMPT_OUTCOME_AMBIGUOUS

    run_scenario(scenario)


def test_a_worker_that_has_expired_registers_again(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        with harness.database.connect() as owner:
            owner.execute("UPDATE delivery.workers SET expired = true WHERE name <> 'another'")
        results = await running.send(await harness.assign("a@receiver.example", at=peer.address))
        assert results["a@receiver.example"].outcome == events.ATTEMPT_OUTCOME_DELIVERED

    run_scenario(scenario)


def test_an_assignment_that_arrives_too_late_is_stale_and_no_server_is_dialed(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        batch = await harness.assign("a@receiver.example", at=peer.address, in_s=-5)
        results = await running.send(batch)
        assert results["a@receiver.example"].outcome == events.ATTEMPT_OUTCOME_STALE
        assert not peer.connections
        await running.topics.publish(batch)
        first, second = await running.topics.results(batch, times=2)
        assert first.outcome == second.outcome == events.ATTEMPT_OUTCOME_STALE

    run_scenario(scenario)


def test_a_repeat_of_a_finished_assignment_publishes_its_result_again(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        batch = await harness.assign("a@receiver.example", at=peer.address)
        await running.send(batch)
        await running.topics.publish(batch * 3)
        first, second, *_ = await running.topics.results(batch, times=2)
        assert first == second
        assert len(peer.messages) == 1

    run_scenario(scenario)


def test_an_assignment_that_is_repeated_during_its_attempt_is_sent_once(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        batch = await harness.assign("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: peer.messages)
        await running.topics.publish(batch)
        [result] = await running.topics.results(batch)
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == len(peer.connections) == 1

    run_scenario(scenario, end_of_data=Act(wait_s=1.0))


def test_no_end_of_data_is_sent_for_an_attempt_that_another_worker_took_over(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        batch = await harness.assign("a@receiver.example", at=peer.address)
        other = insert_worker(harness, expired=False)
        await running.topics.publish(batch)
        await until(lambda: "DATA" in peer.commands)
        update_attempt(harness, batch[0], f"epoch = {other}")
        assert await running.topics.results(batch, within_s=1.5) == []
        assert not peer.messages

    run_scenario(scenario, data=Act(wait_s=0.5))


def test_a_reply_after_another_worker_has_finished_the_attempt_is_not_published(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        batch = await harness.assign("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: peer.messages)
        update_attempt(harness, batch[0], "stage = 'done', outcome = 'ambiguous', ambiguous = true")
        assert await running.topics.results(batch, within_s=1.5) == []
        assert row(harness, batch[0]) == ("done", "ambiguous", True)

    run_scenario(scenario, end_of_data=Act(wait_s=0.5))


def test_end_of_data_waits_for_an_unavailable_journal_and_is_sent_once(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        batch = await harness.assign("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: "DATA" in peer.commands)
        with harness.database.connect() as owner, owner.transaction():
            owner.execute("LOCK TABLE delivery.attempts IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(3.0)  # longer than the service waits for a lock
            assert not peer.messages
        [result] = await running.topics.results(batch)
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == 1

    run_scenario(scenario, data=Act(wait_s=1.5))


def test_an_outage_longer_than_the_lease_makes_no_attempt_ambiguous(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        batch = await harness.assign("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: peer.messages)
        with harness.database.connect() as owner, owner.transaction():
            owner.execute("LOCK TABLE delivery.workers IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(4.0)  # longer than the lease
        [result] = await running.topics.results(batch)
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert not result.ambiguous

    run_scenario(scenario, end_of_data=Act(wait_s=5.0))


def test_an_attempt_that_did_not_learn_of_its_own_commit_can_commit_again(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        batch = await harness.assign("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: "DATA" in peer.commands)
        with harness.database.connect() as owner, owner.transaction():
            owner.execute("LOCK TABLE delivery.attempts IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(3.0)
            update_attempt(harness, batch[0], "stage = 'data_sent'", owner=owner)
        [result] = await running.topics.results(batch)
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == 1

    run_scenario(scenario, data=Act(wait_s=0.3))


def test_an_outcome_is_recorded_once_the_journal_is_available_again(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        batch = await harness.assign("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: peer.messages)
        with harness.database.connect() as owner, owner.transaction():
            owner.execute("LOCK TABLE delivery.attempts IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(3.0)
        [result] = await running.topics.results(batch)
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == 1

    run_scenario(scenario, end_of_data=Act(wait_s=1.5))


def test_a_message_older_than_the_journal_is_dropped(
    harness: Harness, run_scenario: RunScenario
) -> None:
    async def scenario(peer: SmtpPeer, running: Running) -> None:
        [old] = await harness.assign("a@receiver.example", at=peer.address)
        old.message_id = old.context.message_id = aged(old.message_id, days=90)
        [young] = await harness.assign("b@receiver.example", at=peer.address)
        young.message_id = young.context.message_id = aged(young.message_id, days=20)
        await running.topics.publish([old, young])
        [result] = await running.topics.results([young])
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert row(harness, old) is None

    run_scenario(scenario)


def aged(message_id: str, *, days: int) -> str:
    """The UUIDv7 as if it had been created this many days ago."""
    return str(UUID(int=UUID(message_id).int - (days * 86_400_000 << 80)))
