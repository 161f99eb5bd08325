"""The journal: who may send an attempt, and whether its final dot may have been seen."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.router.v1.events_pb2 import DeliveryAssigned
from tests.support.delivery import House, Running
from tests.support.smtp_peer import Act, SmtpPeer
from tests.support.stack import FreshDatabase

QUICK = {"recovery_interval_s": 0.1, "worker_lease_s": 3.0, "orphan_after_s": 0.5}


@pytest.fixture(scope="module")
def house(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    folder: Path = tmp_path_factory.mktemp("delivery")
    return House(bootstrap_servers, topic_prefix, database, folder, settings=QUICK)


def worker(house: House, *, expired: bool) -> int:
    """Another worker's epoch."""
    with house.database.connect() as owner:
        row = owner.execute(
            "INSERT INTO delivery.workers (name, expires_at, expired)"
            " VALUES ('another', now() + interval '1 hour', %s) RETURNING epoch",
            (expired,),
        ).fetchone()
        assert row is not None
        return int(str(row[0]))


def leave(house: House, assignment: DeliveryAssigned, *, epoch: int, stage: str) -> None:
    """A row as a worker left it."""
    with house.database.connect() as owner:
        owner.execute(
            "INSERT INTO delivery.attempts"
            " (message_id, attempt, tenant_id, epoch, stage, not_after, assignment)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (
                assignment.message_id,
                assignment.attempt,
                house.tenant_id,
                epoch,
                stage,
                assignment.not_after.ToDatetime(UTC),
                assignment.SerializeToString(),
            ),
        )


Owner = psycopg.Connection[tuple[object, ...]]


def change(
    house: House, assignment: DeliveryAssigned, words: str, *, owner: Owner | None = None
) -> None:
    """As somebody else would, on a connection of its own or on one that holds a lock."""
    statement = f"UPDATE delivery.attempts SET {words} WHERE message_id = %s".encode()
    with house.database.connect() as mine:
        (owner or mine).execute(statement, (assignment.message_id,))


def row(house: House, assignment: DeliveryAssigned) -> tuple[object, ...] | None:
    with house.database.connect() as owner:
        return owner.execute(
            "SELECT stage, outcome, ambiguous FROM delivery.attempts WHERE message_id = %s",
            (assignment.message_id,),
        ).fetchone()


Story = Callable[[SmtpPeer, Running], Awaitable[None]]


@pytest.fixture(scope="module")
def run_story(house: House) -> Iterator[Callable[..., None]]:
    """Run a story with a scripted mail server, and the service that all stories share."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        running = runner.run(stack.enter_async_context(house.running()))

        def tell(story: Story, **acts: Act) -> None:
            async def whole() -> None:
                async with SmtpPeer(acts) as peer:
                    await story(peer, running)

            runner.run(whole())

        yield tell
        runner.run(stack.aclose())


RunStory = Callable[..., None]


async def until(what: Callable[[], object], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.02)


def test_what_a_dead_worker_only_began_is_sent_by_another(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        [one] = await house.assigned("a@receiver.example", at=peer.address)
        leave(house, one, epoch=worker(house, expired=True), stage="started")
        [answer] = await running.topics.answers([one])
        assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == 1

    run_story(story)


def test_what_a_dead_worker_began_too_long_ago_is_stale(house: House, run_story: RunStory) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        [one] = await house.assigned("a@receiver.example", at=peer.address, in_s=-1)
        leave(house, one, epoch=worker(house, expired=True), stage="started")
        [answer] = await running.topics.answers([one])
        assert answer.outcome == events.ATTEMPT_OUTCOME_STALE
        assert not answer.connected
        assert not answer.ambiguous
        assert not peer.connections

    run_story(story)


def test_what_a_dead_worker_may_have_sent_is_flagged_and_not_sent_again(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        [one] = await house.assigned("a@receiver.example", at=peer.address)
        leave(house, one, epoch=worker(house, expired=True), stage="data_sent")
        [answer] = await running.topics.answers([one])
        assert answer.outcome == events.ATTEMPT_OUTCOME_AMBIGUOUS
        assert answer.ambiguous
        assert not peer.connections
        assert row(house, one) == ("done", "ambiguous", True)

    run_story(story)


def test_what_a_living_worker_holds_is_left_to_it(house: House, run_story: RunStory) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        [one] = await house.assigned("a@receiver.example", at=peer.address)
        leave(house, one, epoch=worker(house, expired=False), stage="data_sent")
        assert await running.topics.answers([one], within_s=1.0) == []
        assert row(house, one) == ("data_sent", None, False)

    run_story(story)


def test_a_worker_that_does_not_renew_is_dead_and_its_work_is_taken_over(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        epoch = worker(house, expired=False)
        [one] = await house.assigned("a@receiver.example", at=peer.address)
        leave(house, one, epoch=epoch, stage="started")
        with house.database.connect() as owner:
            owner.execute(
                "UPDATE delivery.workers SET expires_at = now() - interval '1 s' WHERE epoch = %s",
                (epoch,),
            )
        [answer] = await running.topics.answers([one])
        assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED

    run_story(story)


def test_orphans_of_a_living_worker_are_settled_when_their_time_is_long_past(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        with house.database.connect() as owner:
            found = owner.execute(
                "SELECT max(epoch) FROM delivery.workers WHERE NOT expired AND name <> 'another'"
            ).fetchone()
            assert found is not None
        begun, sent = await house.assigned(
            "a@receiver.example", "b@receiver.example", at=peer.address, in_s=0.1
        )
        leave(house, begun, epoch=int(str(found[0])), stage="started")
        leave(house, sent, epoch=int(str(found[0])), stage="data_sent")
        answers = {one.recipient: one for one in await running.topics.answers([begun, sent])}
        assert answers["a@receiver.example"].outcome == events.ATTEMPT_OUTCOME_STALE
        assert answers["b@receiver.example"].outcome == events.ATTEMPT_OUTCOME_AMBIGUOUS

    run_story(story)


def test_a_worker_that_finds_itself_dead_registers_again_and_goes_on(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        with house.database.connect() as owner:
            owner.execute("UPDATE delivery.workers SET expired = true WHERE name <> 'another'")
        answers = await running.send(await house.assigned("a@receiver.example", at=peer.address))
        assert answers["a@receiver.example"].outcome == events.ATTEMPT_OUTCOME_DELIVERED

    run_story(story)


def test_an_assignment_that_comes_too_late_is_stale_and_nothing_is_said(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        batch = await house.assigned("a@receiver.example", at=peer.address, in_s=-5)
        answers = await running.send(batch)
        assert answers["a@receiver.example"].outcome == events.ATTEMPT_OUTCOME_STALE
        assert not peer.connections
        await running.topics.publish(batch)
        first, second = await running.topics.answers(batch, times=2)
        assert first.outcome == second.outcome == events.ATTEMPT_OUTCOME_STALE

    run_story(story)


def test_an_assignment_that_is_done_is_answered_again_and_not_sent_again(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        batch = await house.assigned("a@receiver.example", at=peer.address)
        await running.send(batch)
        await running.topics.publish(batch * 3)
        first, second, *_ = await running.topics.answers(batch, times=2)
        assert first == second
        assert len(peer.messages) == 1

    run_story(story)


def test_an_assignment_that_is_repeated_while_it_is_sent_is_sent_once(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        batch = await house.assigned("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: peer.messages)
        await running.topics.publish(batch)
        [answer] = await running.topics.answers(batch)
        assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == len(peer.connections) == 1

    run_story(story, end_of_data=Act(wait_s=1.0))


def test_no_dot_is_sent_for_an_attempt_that_another_took_meanwhile(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        batch = await house.assigned("a@receiver.example", at=peer.address)
        other = worker(house, expired=False)
        await running.topics.publish(batch)
        await until(lambda: "DATA" in peer.commands)
        change(house, batch[0], f"epoch = {other}")
        assert await running.topics.answers(batch, within_s=1.5) == []
        assert not peer.messages

    run_story(story, data=Act(wait_s=0.5))


def test_an_answer_that_comes_after_another_has_settled_is_not_told(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        batch = await house.assigned("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: peer.messages)
        change(house, batch[0], "stage = 'done', outcome = 'ambiguous', ambiguous = true")
        assert await running.topics.answers(batch, within_s=1.5) == []
        assert row(house, batch[0]) == ("done", "ambiguous", True)

    run_story(story, end_of_data=Act(wait_s=0.5))


def test_without_the_journal_there_is_no_dot_and_with_it_again_one_copy(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        batch = await house.assigned("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: "DATA" in peer.commands)
        with house.database.connect() as owner, owner.transaction():
            owner.execute("LOCK TABLE delivery.attempts IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(3.0)  # longer than the service waits for a lock
            assert not peer.messages
        [answer] = await running.topics.answers(batch)
        assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == 1

    run_story(story, data=Act(wait_s=0.3))


def test_a_journal_that_was_away_for_long_makes_nobody_ambiguous(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        batch = await house.assigned("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: peer.messages)
        with house.database.connect() as owner, owner.transaction():
            owner.execute("LOCK TABLE delivery.workers IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(4.0)  # longer than the lease
        [answer] = await running.topics.answers(batch)
        assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert not answer.ambiguous

    run_story(story, end_of_data=Act(wait_s=5.0))


def test_a_go_that_was_not_told_of_its_own_step_takes_it_again(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        batch = await house.assigned("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: "DATA" in peer.commands)
        with house.database.connect() as owner, owner.transaction():
            owner.execute("LOCK TABLE delivery.attempts IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(3.0)
            change(house, batch[0], "stage = 'data_sent'", owner=owner)
        [answer] = await running.topics.answers(batch)
        assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == 1

    run_story(story, data=Act(wait_s=0.3))


def test_an_outcome_that_cannot_be_saved_is_kept_until_it_can(
    house: House, run_story: RunStory
) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        batch = await house.assigned("a@receiver.example", at=peer.address)
        await running.topics.publish(batch)
        await until(lambda: peer.messages)
        with house.database.connect() as owner, owner.transaction():
            owner.execute("LOCK TABLE delivery.attempts IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(3.0)
        [answer] = await running.topics.answers(batch)
        assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert len(peer.messages) == 1

    run_story(story, end_of_data=Act(wait_s=0.3))


def test_a_message_older_than_the_journal_is_dropped(house: House, run_story: RunStory) -> None:
    async def story(peer: SmtpPeer, running: Running) -> None:
        [old] = await house.assigned("a@receiver.example", at=peer.address)
        old.message_id = old.context.message_id = aged(old.message_id, days=90)
        [young] = await house.assigned("b@receiver.example", at=peer.address)
        young.message_id = young.context.message_id = aged(young.message_id, days=20)
        await running.topics.publish([old, young])
        [answer] = await running.topics.answers([young])
        assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert row(house, old) is None

    run_story(story)


def aged(message_id: str, *, days: int) -> str:
    """A UUIDv7 as it was made so many days ago."""
    return str(UUID(int=UUID(message_id).int - (days * 86_400_000 << 80)))
