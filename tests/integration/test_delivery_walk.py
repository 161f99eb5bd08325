"""Which host is asked, over which connection, and what no host is asked at all."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.ingest.v1.directory_pb2 import Domain
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.embedded.folder import free_port
from kernel.ids import uuid7_text
from tests.support.delivery import House, Running, a_content
from tests.support.smtp_peer import EXTENSIONS, Act, Acts, SmtpPeer
from tests.support.stack import FreshDatabase

WHO = "friend@receiver.example"
DELETED = Domain(
    domain_id="0199c0de-0000-7000-8000-000000000000", name="gone.example", version=2, deleted=True
)


@pytest.fixture(scope="module")
def house(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    folder: Path = tmp_path_factory.mktemp("delivery")
    return House(bootstrap_servers, topic_prefix, database, folder)


@pytest.fixture(scope="module")
def shared(house: House) -> Iterator["Shared"]:
    """A loop and a service that the stories share."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        running = runner.run(stack.enter_async_context(house.running()))
        yield Shared(runner, running)
        runner.run(stack.aclose())


@dataclass(frozen=True, slots=True)
class Shared:
    runner: asyncio.Runner
    running: Running


def walk(
    house: House, shared: "Shared", *hosts: Acts | None
) -> tuple[events.DeliveryAttempted, list[SmtpPeer]]:
    """One message to several hosts, the best first; None is one where nobody listens."""

    async def story() -> tuple[events.DeliveryAttempted, list[SmtpPeer]]:
        async with AsyncExitStack() as stack:
            peers = [
                await stack.enter_async_context(SmtpPeer(acts))
                for acts in hosts
                if acts is not None
            ]
            ports = iter(peer.address for peer in peers)
            at = ",".join(
                f"127.0.0.1:{free_port()}" if acts is None else next(ports) for acts in hosts
            )
            answers = await shared.running.send(await house.assigned(WHO, at=at))
            return answers[WHO], peers

    return shared.runner.run(story())


def test_a_host_that_does_not_listen_is_passed_over(house: House, shared: Shared) -> None:
    answer, _ = walk(house, shared, None, {})
    assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED


def test_a_host_that_greets_with_554_is_passed_over(house: House, shared: Shared) -> None:
    answer, [first, second] = walk(house, shared, {"greeting": b"554 No service here"}, {})
    assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
    assert (len(first.messages), len(second.messages)) == (0, 1)


def test_a_host_that_refuses_the_recipient_has_the_last_word(house: House, shared: Shared) -> None:
    answer, [_, second] = walk(house, shared, {"rcpt": b"550 5.1.1 No such user"}, {})
    assert answer.outcome == events.ATTEMPT_OUTCOME_PERMANENT
    assert not second.connections


def test_when_nobody_listens_no_limit_was_used_up(house: House, shared: Shared) -> None:
    answer, _ = walk(house, shared, None, None)
    assert answer.outcome == events.ATTEMPT_OUTCOME_TEMPORARY
    assert not answer.connected
    assert (answer.reply.step, answer.reply.code) == ("connect", 0)


def test_the_word_of_a_host_that_spoke_counts_more_than_the_silence_of_another(
    house: House,
    shared: Shared,
) -> None:
    answer, _ = walk(house, shared, {"greeting": b"421 Too busy"}, None)
    assert answer.outcome == events.ATTEMPT_OUTCOME_TEMPORARY
    assert answer.connected
    assert answer.reply.code == 421


@pytest.mark.parametrize(
    "acts",
    [
        {"mail": Act(b"421 4.3.2 Going down", close=True)},
        {"mail": Act(b"", close=True)},
        {"mail": b"451 4.3.0 Try later"},
        {"rcpt": b"451 4.7.1 Greylisted"},
        {"rcpt": Act(b"", close=True)},
    ],
)
def test_a_host_that_hangs_up_or_puts_us_off_is_passed_over(
    house: House, shared: Shared, acts: Acts
) -> None:
    answer, [first, second] = walk(house, shared, acts, {})
    assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
    assert (len(first.messages), len(second.messages)) == (0, 1)


def test_no_more_than_two_hosts_are_asked_to_take_a_message(house: House, shared: Shared) -> None:
    later = {"rcpt": b"451 4.7.1 Later"}
    answer, peers = walk(house, shared, later, later, later)
    assert answer.outcome == events.ATTEMPT_OUTCOME_TEMPORARY
    assert answer.reply.code == 451
    assert [len(peer.connections) for peer in peers] == [1, 1, 0]


async def twice(house: House, shared: Shared, peer: SmtpPeer) -> list[events.DeliveryAttempted]:
    """Two messages, one after the other."""
    answers: list[events.DeliveryAttempted] = []
    for name in ("first@receiver.example", "second@receiver.example"):
        answers += (await shared.running.send(await house.assigned(name, at=peer.address))).values()
        await asyncio.sleep(0.2)
    return answers


def test_a_server_that_hangs_up_on_an_idle_connection_loses_no_message(
    house: House, shared: Shared
) -> None:
    async def story() -> None:
        dot = [Act(b"250 Ok", close=True), Act()]
        async with SmtpPeer({"end_of_data": dot}) as peer:
            answers = await twice(house, shared, peer)
            assert {one.outcome for one in answers} == {events.ATTEMPT_OUTCOME_DELIVERED}
            assert len(peer.connections) == 2

    shared.runner.run(story())


def test_a_421_on_an_idle_connection_is_no_failure_of_the_next_message(
    house: House, shared: Shared
) -> None:
    async def story() -> None:
        mail = [Act(), Act(b"421 4.4.2 Idle too long", close=True), Act()]
        async with SmtpPeer({"mail": mail}) as peer:
            answers = await twice(house, shared, peer)
            assert {one.outcome for one in answers} == {events.ATTEMPT_OUTCOME_DELIVERED}
            assert len(peer.messages) == len(peer.connections) == 2

    shared.runner.run(story())


def test_what_was_refused_half_way_is_reset_before_the_next_message(
    house: House, shared: Shared
) -> None:
    async def story() -> None:
        rcpt = [Act(b"550 5.1.1 No such user"), Act()]
        async with SmtpPeer({"rcpt": rcpt}) as peer:
            first, second = await twice(house, shared, peer)
            assert first.outcome == events.ATTEMPT_OUTCOME_PERMANENT
            assert second.outcome == events.ATTEMPT_OUTCOME_DELIVERED
            assert len(peer.connections) == 1
            verbs = [one.split(" ")[0] for one in peer.commands]
            assert verbs == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA"]

    shared.runner.run(story())


def test_a_server_that_does_not_know_rset_costs_a_connection_and_no_message(
    house: House, shared: Shared
) -> None:
    async def story() -> None:
        acts: Acts = {"rcpt": [Act(b"550 5.1.1 No such user"), Act()], "rset": b"502 5.5.1 What?"}
        async with SmtpPeer(acts) as peer:
            first, second = await twice(house, shared, peer)
            assert first.outcome == events.ATTEMPT_OUTCOME_PERMANENT
            assert second.outcome == events.ATTEMPT_OUTCOME_DELIVERED
            assert len(peer.connections) == 2

    shared.runner.run(story())


@pytest.mark.parametrize(
    "pieces",
    [(b"250 2.0", b".0 queued\r\n"), (b"250-2.0.0 a\r\n", b"250 b\r\n"), (b"250 Ok\r", b"\n")],
)
def test_an_answer_to_the_dot_in_two_segments_is_one_answer(
    house: House, shared: Shared, pieces: tuple[bytes, bytes]
) -> None:
    async def story() -> None:
        async with SmtpPeer({"end_of_data": Act(pieces=pieces)}) as peer:
            answers = await shared.running.send(await house.assigned(WHO, at=peer.address))
            assert answers[WHO].outcome == events.ATTEMPT_OUTCOME_DELIVERED
            assert not answers[WHO].ambiguous
            assert len(peer.messages) == 1

    shared.runner.run(story())


def test_command_by_command_stops_at_the_first_refusal(house: House, shared: Shared) -> None:
    async def story() -> None:
        plain = [one for one in EXTENSIONS if one != "PIPELINING"]
        acts = {"mail": b"550 5.7.1 Not you"}
        async with SmtpPeer(acts, extensions=plain) as peer:
            await shared.running.send(await house.assigned(WHO, at=peer.address))
            assert [one.split(" ")[0] for one in peer.commands] == ["EHLO", "MAIL"]

    shared.runner.run(story())


def test_a_kept_connection_only_serves_messages_for_its_host(house: House, shared: Shared) -> None:
    async def story() -> None:
        async with SmtpPeer() as one, SmtpPeer() as other:
            for peer in (one, other, one):
                batch = await house.assigned(WHO, at=peer.address, site="provider.example")
                await shared.running.topics.publish(batch)
                await shared.running.topics.answers(batch)
            assert (len(one.messages), len(other.messages)) == (2, 1)
            assert (len(one.connections), len(other.connections)) == (1, 1)

    shared.runner.run(story())


def test_the_egress_speaks_from_its_address_under_its_name(house: House, shared: Shared) -> None:
    async def story() -> None:
        async with SmtpPeer() as peer:
            batch = await house.assigned(WHO, at=peer.address, source_ip="127.0.0.9")
            answers = await shared.running.send(batch)
            assert answers[WHO].reply.local_ip == "127.0.0.9"
            assert peer.commands[0] == "EHLO out.sender.example"

    shared.runner.run(story())


def test_a_source_address_that_this_machine_does_not_have_is_said_so(
    house: House, shared: Shared
) -> None:
    async def story() -> None:
        async with SmtpPeer() as peer:
            batch = await house.assigned(WHO, at=peer.address, source_ip="192.0.2.1")
            answers = await shared.running.send(batch)
            assert answers[WHO].outcome == events.ATTEMPT_OUTCOME_TEMPORARY
            assert "no connection" in answers[WHO].reply.text

    shared.runner.run(story())


def wrong(house: House, what: str, batch: list[DeliveryAssigned]) -> None:
    envelope = batch[0].context
    if what == "missing":  # and its day has passed
        _, _, segment = envelope.content_ref.split("/", 2)
        envelope.content_ref = f"now/2020-01-01/{segment}"
    elif what == "of another email":
        envelope.email_id = "0199c0de-0000-7000-8000-000000000000"
    elif what == "deleted domain":
        envelope.domain_id = DELETED.domain_id
    elif what == "no hosts":
        del batch[0].mx_hosts[:]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("missing", "gone from the store"),
        ("of another email", "does not belong"),
        ("deleted domain", "domain no longer exists"),
        ("no hosts", "no mail exchanger"),
    ],
)
def test_mail_that_cannot_be_made_fails_alone_and_says_why(
    house: House, shared: Shared, what: str, words: str
) -> None:
    async def story() -> None:
        async with SmtpPeer() as peer:
            batch = await house.assigned(WHO, at=peer.address)
            wrong(house, what, batch)
            await shared.running.topics.publish([DELETED])
            good = await house.assigned("good@receiver.example", at=peer.address)
            answers = await shared.running.send([*batch, *good])
            assert answers[WHO].outcome == events.ATTEMPT_OUTCOME_PERMANENT
            assert words in answers[WHO].reply.text
            assert answers["good@receiver.example"].outcome == events.ATTEMPT_OUTCOME_DELIVERED

    shared.runner.run(story())


def test_mail_waits_for_the_record_of_its_domain_and_holds_up_no_other(
    house: House, shared: Shared
) -> None:
    async def story() -> None:
        late = house.domain()
        late.domain_id = uuid7_text()
        async with SmtpPeer() as peer:
            early = await house.assigned(WHO, at=peer.address)
            early[0].context.domain_id = late.domain_id
            good = await house.assigned("good@receiver.example", at=peer.address)
            await shared.running.topics.publish(early)
            answers = await shared.running.send(good)
            assert answers["good@receiver.example"].outcome == events.ATTEMPT_OUTCOME_DELIVERED
            await shared.running.topics.publish([late])
            [answer] = await shared.running.topics.answers(early)
            assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED

    shared.runner.run(story())


def test_a_large_message_arrives_whole_through_a_slow_reader(house: House, shared: Shared) -> None:
    async def story() -> None:
        text = "".join(
            f"{n:09}. a line of a large message, and then some\n" for n in range(200_000)
        )
        content = a_content(text=text, html="")
        async with SmtpPeer({"body": Act(b"", wait_s=0.5)}) as peer:
            batch = await house.assigned(WHO, at=peer.address, content=content)
            answers = await shared.running.send(batch, within_s=30)
            assert answers[WHO].outcome == events.ATTEMPT_OUTCOME_DELIVERED
            [taken] = peer.messages
            assert (
                taken.message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n").count(b"\n")
                == 200_000
            )

    shared.runner.run(story())


def test_every_recipient_gets_an_id_of_its_own_that_retries_keep(
    house: House, shared: Shared
) -> None:
    async def story() -> None:
        async with SmtpPeer({"end_of_data": [Act(b"451 Later"), Act()]}) as peer:
            batch = await house.assigned(WHO, "other@receiver.example", at=peer.address)
            await shared.running.send(batch)
            again = [DeliveryAssigned.FromString(one.SerializeToString()) for one in batch]
            for one in again:
                one.attempt = 2
            await shared.running.send(again)
            ids = {(one.rcpt_to, identity(one.message)) for one in peer.messages}
            assert len(peer.messages) == 4
            assert len(ids) == 2

    shared.runner.run(story())


def identity(message: bytes) -> bytes:
    [line] = [line for line in message.split(b"\r\n") if line.lower().startswith(b"message-id:")]
    return line
