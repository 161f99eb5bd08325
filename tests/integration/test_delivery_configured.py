"""What settings change, and how the service ends."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.router.v1.events_pb2 import DeliveryAssigned
from tests.support.delivery import House
from tests.support.smtp_peer import Act, Acts, SmtpPeer
from tests.support.stack import FreshDatabase

WHO = "friend@receiver.example"


@pytest.fixture(scope="module")
def house(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    folder: Path = tmp_path_factory.mktemp("delivery")
    return House(bootstrap_servers, topic_prefix, database, folder)


def test_an_idle_connection_is_closed_with_quit(house: House) -> None:
    async def story() -> None:
        async with SmtpPeer() as peer, house.running(idle_s=0.5) as running:
            await running.send(await house.assigned(WHO, at=peer.address))
            async with asyncio.timeout(5):
                while peer.commands[-1] != "QUIT":
                    await asyncio.sleep(0.05)

    asyncio.run(story())


def test_no_more_connections_than_allowed_go_to_a_site(house: House) -> None:
    async def story() -> None:
        async with (
            SmtpPeer({"end_of_data": Act(wait_s=0.2)}) as peer,
            house.running(smtp_connections_max=3) as running,
        ):
            batch = await house.assigned(
                *(f"{n}@receiver.example" for n in range(12)), at=peer.address
            )
            answers = await running.send(batch)
            assert len(answers) == 12
            assert len(peer.connections) == 3

    asyncio.run(story())


def test_a_receiver_that_takes_five_connections_defers_no_mail(house: House) -> None:
    async def story() -> None:
        good, full = Act(b"220 peer.example"), Act(b"421 4.7.0 Too many connections", close=True)
        acts: Acts = {"greeting": [good] * 5 + [full], "end_of_data": Act(wait_s=0.01)}
        async with SmtpPeer(acts) as peer, house.running() as running:
            batch = await house.assigned(
                *(f"{n}@receiver.example" for n in range(200)), at=peer.address
            )
            answers = await running.send(batch, within_s=60)
            assert {one.outcome for one in answers.values()} == {events.ATTEMPT_OUTCOME_DELIVERED}
            assert len(answers) == len(peer.messages) == 200

    asyncio.run(story())


def test_a_hanging_host_in_a_mixed_set_holds_up_no_other_mail_of_its_neighbour(
    house: House,
) -> None:
    async def story() -> None:
        tarpit = Act(b"", hang=True)
        async with (
            SmtpPeer({"greeting": tarpit}) as evil,
            SmtpPeer() as good,
            house.running() as running,
        ):
            mixed = await house.assigned(
                *(f"{n}@evil.example" for n in range(20)),
                at=f"{evil.address},{good.address}",
                site="evil.example+receiver.example",
            )
            mine = await house.assigned(
                *(f"{n}@receiver.example" for n in range(100)),
                at=good.address,
                site="receiver.example",
            )
            await running.topics.publish(mixed)
            await until(lambda: evil.connections)
            answers = await running.send(mine, within_s=30)
            assert {one.outcome for one in answers.values()} == {events.ATTEMPT_OUTCOME_DELIVERED}

    asyncio.run(story())


def test_a_connection_serves_many_messages_and_then_makes_room(house: House) -> None:
    async def story() -> None:
        async with (
            SmtpPeer() as peer,
            house.running(smtp_connections_max=1, smtp_messages_per_connection_max=4) as running,
        ):
            batch = await house.assigned(
                *(f"{n}@receiver.example" for n in range(10)), at=peer.address
            )
            answers = await running.send(batch)
            assert {one.outcome for one in answers.values()} == {events.ATTEMPT_OUTCOME_DELIVERED}
            assert [one.commands.count("DATA") for one in peer.connections] == [4, 4, 2]
            assert all(one.commands[-1] == "QUIT" for one in peer.connections[:2])

    asyncio.run(story())


def test_a_private_address_is_not_dialled(house: House) -> None:
    hosts = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "192.168.0.1", "::ffff:127.0.0.1"]

    async def story() -> None:
        async with SmtpPeer() as peer, house.running(relay_allow=[]) as running:
            batch = []
            for number, host in enumerate(hosts):
                name = f"{number}@receiver.example"
                batch += await house.assigned(name, at=f"{host}:{peer.port}")
            answers = await running.send(batch)
            assert {one.outcome for one in answers.values()} == {events.ATTEMPT_OUTCOME_PERMANENT}
            assert all("private_address" in one.reply.text for one in answers.values())
            assert not any(one.connected for one in answers.values())
            assert not peer.connections

    asyncio.run(story())


def test_sigterm_waits_for_answers_and_begins_nothing_new(house: House) -> None:
    async def story() -> None:
        async with SmtpPeer({"end_of_data": Act(wait_s=1.0)}) as peer, house.topics() as topics:
            async with house.running(smtp_connections_max=1) as running:
                batch = await house.assigned(
                    *(f"{name}@receiver.example" for name in "abc"), at=peer.address
                )
                await running.topics.publish(batch)
                await until(lambda: peer.messages)
            assert len(peer.messages) == 1
            first = peer.messages[0].rcpt_to
            sent = [one for one in batch if one.context.recipient == first]
            left = [one for one in batch if one.context.recipient != first]
            [answer] = await topics.answers(sent)
            assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
            assert [row(house, one) for one in left] == [("started", None, False)] * 2
        async with SmtpPeer() as peer:
            change_host(house, left, peer)
            async with house.running() as running:
                answers = await running.topics.answers(left)
                assert {one.outcome for one in answers} == {events.ATTEMPT_OUTCOME_DELIVERED}

    asyncio.run(story())


def test_what_comes_while_it_drains_is_left_to_others_and_begun_by_nobody(house: House) -> None:
    async def story() -> None:
        async with SmtpPeer({"end_of_data": Act(wait_s=1.5)}) as peer, house.running() as running:
            assert running.service.drain is not None
            first = await house.assigned("first@receiver.example", at=peer.address)
            await running.topics.publish(first)
            await until(lambda: peer.messages)
            draining = asyncio.create_task(as_coroutine(running.service.drain()))
            await asyncio.sleep(0.1)
            late = await house.assigned("late@receiver.example", at=peer.address)
            await running.topics.publish(late)
            await draining
            [answer] = await running.topics.answers(first)
            assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
            assert row(house, late[0]) is None

    asyncio.run(story())


async def as_coroutine(awaited: Awaitable[None]) -> None:
    await awaited


def change_host(house: House, left: list[DeliveryAssigned], peer: SmtpPeer) -> None:
    """The mail server of the story has moved."""
    with house.database.connect() as owner:
        for one in left:
            one.mx_hosts[0].port = peer.port
            owner.execute(
                "UPDATE delivery.attempts SET assignment = %s WHERE message_id = %s",
                (one.SerializeToString(), one.message_id),
            )


def row(house: House, assignment: DeliveryAssigned) -> tuple[object, ...] | None:
    with house.database.connect() as owner:
        return owner.execute(
            "SELECT stage, outcome, ambiguous FROM delivery.attempts WHERE message_id = %s",
            (assignment.message_id,),
        ).fetchone()


async def until(what: Callable[[], object], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.02)
