"""Settings of delivery, limits of connections, and shutdown."""

import asyncio
from collections.abc import Awaitable

from contracts.delivery.v1 import events_pb2 as events
from contracts.router.v1.events_pb2 import DeliveryAssigned
from tests.support.delivery import Harness
from tests.support.polling import until
from tests.support.smtp_peer import Act, Acts, SmtpPeer
from tests.support.stack import harness_fixture

RECIPIENT = "friend@receiver.example"


harness = harness_fixture(Harness, scope="module")


async def test_an_idle_connection_is_closed_with_quit(harness: Harness) -> None:
    async with SmtpPeer() as peer, harness.running(smtp_idle_timeout_s=0.5) as running:
        await running.send(await harness.assign(RECIPIENT, at=peer.address))
        async with asyncio.timeout(240):
            while peer.commands[-1] != "QUIT":
                await asyncio.sleep(0.05)


async def test_no_more_connections_than_allowed_go_to_a_site(harness: Harness) -> None:
    async with (
        SmtpPeer({"end_of_data": Act(wait_s=0.2)}) as peer,
        harness.running(smtp_connections_max=3) as running,
    ):
        batch = await harness.assign(*(f"{n}@receiver.example" for n in range(12)), at=peer.address)
        results = await running.send(batch)
        assert len(results) == 12
        assert len(peer.connections) == 3


async def test_mail_that_waited_for_a_slow_server_arrives_at_the_pace_of_its_assignment(
    harness: Harness,
) -> None:
    """Nothing is sent while the server is slow; afterwards everything is due."""

    slow = {"greeting": Act(wait_s=1.0)}
    async with SmtpPeer(slow) as peer, harness.running(smtp_connections_max=20) as running:
        recipients = (f"{n}@receiver.example" for n in range(60))
        batch = await harness.assign(*recipients, at=peer.address, per_second_max=20)
        results = await running.send(batch, within_s=60)
        assert {one.outcome for one in results.values()} == {events.ATTEMPT_OUTCOME_DELIVERED}
        arrived_s = peer.received_s
        # The server reads a command a little after it was sent.
        assert all(
            sum(first <= one < first + 0.9 for one in arrived_s) <= 20 for first in arrived_s
        )


async def test_a_server_that_accepts_five_connections_defers_no_mail(harness: Harness) -> None:
    good, full = Act(b"220 peer.example"), Act(b"421 4.7.0 Too many connections", close=True)
    acts: Acts = {"greeting": [good] * 5 + [full], "end_of_data": Act(wait_s=0.01)}
    async with SmtpPeer(acts) as peer, harness.running() as running:
        batch = await harness.assign(
            *(f"{n}@receiver.example" for n in range(200)), at=peer.address
        )
        results = await running.send(batch)
        assert {one.outcome for one in results.values()} == {events.ATTEMPT_OUTCOME_DELIVERED}
        assert len(results) == len(peer.messages) == 200


async def test_a_hanging_host_in_a_mixed_set_delays_no_mail_for_the_other_host(
    harness: Harness,
) -> None:
    tarpit = Act(b"", hang=True)
    async with (
        SmtpPeer({"greeting": tarpit}) as evil,
        SmtpPeer() as good,
        harness.running() as running,
    ):
        mixed = await harness.assign(
            *(f"{n}@evil.example" for n in range(20)),
            at=f"{evil.address},{good.address}",
            site="evil.example+receiver.example",
        )
        direct = await harness.assign(
            *(f"{n}@receiver.example" for n in range(100)),
            at=good.address,
            site="receiver.example",
        )
        await running.topics.publish(mixed)
        await until(lambda: evil.connections)
        results = await running.send(direct)
        assert {one.outcome for one in results.values()} == {events.ATTEMPT_OUTCOME_DELIVERED}


async def test_a_connection_is_closed_after_its_limit_of_messages(harness: Harness) -> None:
    async with (
        SmtpPeer() as peer,
        harness.running(smtp_connections_max=1, smtp_messages_per_connection_max=4) as running,
    ):
        batch = await harness.assign(*(f"{n}@receiver.example" for n in range(10)), at=peer.address)
        results = await running.send(batch)
        assert {one.outcome for one in results.values()} == {events.ATTEMPT_OUTCOME_DELIVERED}
        assert [one.commands.count("DATA") for one in peer.connections] == [4, 4, 2]
        assert all(one.commands[-1] == "QUIT" for one in peer.connections[:2])


async def test_a_private_address_is_not_dialed(harness: Harness) -> None:
    hosts = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "192.168.0.1", "::ffff:127.0.0.1"]

    async with SmtpPeer() as peer, harness.running(relay_allowed_networks=[]) as running:
        batch = []
        for number, host in enumerate(hosts):
            name = f"{number}@receiver.example"
            batch += await harness.assign(name, at=f"{host}:{peer.port}")
        results = await running.send(batch)
        assert {one.outcome for one in results.values()} == {events.ATTEMPT_OUTCOME_PERMANENT}
        assert all("private address" in one.reply.text for one in results.values())
        assert not any(one.connected for one in results.values())
        assert not peer.connections


async def test_sigterm_waits_for_replies_and_begins_no_new_attempt(harness: Harness) -> None:
    async with SmtpPeer({"end_of_data": Act(wait_s=1.0)}) as peer, harness.topics() as topics:
        async with harness.running(smtp_connections_max=1) as running:
            batch = await harness.assign(
                *(f"{name}@receiver.example" for name in "abc"), at=peer.address
            )
            await running.topics.publish(batch)
            await until(lambda: peer.messages)
        assert len(peer.messages) == 1
        first = peer.messages[0].rcpt_to
        sent = [one for one in batch if one.context.recipient == first]
        remaining = [one for one in batch if one.context.recipient != first]
        [result] = await topics.results(sent)
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert [row(harness, one) for one in remaining] == [("started", None, False)] * 2
    async with SmtpPeer() as peer:
        change_host(harness, remaining, peer)
        async with harness.running() as running:
            results = await running.topics.results(remaining)
            assert {one.outcome for one in results} == {events.ATTEMPT_OUTCOME_DELIVERED}


async def test_an_assignment_that_arrives_during_the_drain_is_not_begun(harness: Harness) -> None:
    async with SmtpPeer({"end_of_data": Act(wait_s=1.5)}) as peer, harness.running() as running:
        assert running.service.drain is not None
        first = await harness.assign("first@receiver.example", at=peer.address)
        await running.topics.publish(first)
        await until(lambda: peer.messages)
        draining = asyncio.create_task(awaiting(running.service.drain()))
        await asyncio.sleep(0.1)
        late = await harness.assign("late@receiver.example", at=peer.address)
        await running.topics.publish(late)
        await draining
        [result] = await running.topics.results(first)
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert row(harness, late[0]) is None


async def awaiting(awaited: Awaitable[None]) -> None:
    await awaited


def change_host(harness: Harness, remaining: list[DeliveryAssigned], peer: SmtpPeer) -> None:
    """Point assignments in the journal to another mail server."""
    with harness.database.connect() as owner:
        for one in remaining:
            one.mx_hosts[0].port = peer.port
            owner.execute(
                "UPDATE delivery.attempts SET assignment = %s WHERE message_id = %s",
                (one.SerializeToString(), one.message_id),
            )


def row(harness: Harness, assignment: DeliveryAssigned) -> tuple[object, ...] | None:
    with harness.database.connect() as owner:
        return owner.execute(
            "SELECT stage, outcome, ambiguous FROM delivery.attempts WHERE message_id = %s",
            (assignment.message_id,),
        ).fetchone()
