"""The choice of hosts and connections, and messages that no host gets."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.ingest.v1.directory_pb2 import Domain
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.embedded.folder import free_port
from kernel.ids import uuid7_text
from tests.support.delivery import Harness, Running, make_content
from tests.support.smtp_peer import EXTENSIONS, Act, Acts, SmtpPeer
from tests.support.stack import harness_fixture

RECIPIENT = "friend@receiver.example"
DELETED = Domain(
    domain_id="0199c0de-0000-7000-8000-000000000000", name="gone.example", version=2, deleted=True
)


harness = harness_fixture(Harness, scope="module")


@pytest.fixture(scope="module")
def shared(harness: Harness) -> Iterator["Shared"]:
    """An event loop and a service that the tests share."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        running = runner.run(stack.enter_async_context(harness.running()))
        yield Shared(harness, runner, running)
        runner.run(stack.aclose())


@dataclass(frozen=True, slots=True)
class Shared:
    harness: Harness
    runner: asyncio.Runner
    running: Running


def send_to_hosts(
    shared: "Shared", *hosts: Acts | None
) -> tuple[events.DeliveryAttempted, list[SmtpPeer]]:
    """Send a message to several hosts, best first; None is a host that does not listen."""

    async def scenario() -> tuple[events.DeliveryAttempted, list[SmtpPeer]]:
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
            results = await shared.running.send(await shared.harness.assign(RECIPIENT, at=at))
            return results[RECIPIENT], peers

    return shared.runner.run(scenario())


def test_the_next_host_is_tried_if_a_host_does_not_listen(shared: Shared) -> None:
    result, _ = send_to_hosts(shared, None, {})
    assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED


def test_the_next_host_is_tried_if_a_host_greets_with_554(shared: Shared) -> None:
    result, [first, second] = send_to_hosts(shared, {"greeting": b"554 No service here"}, {})
    assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
    assert (len(first.messages), len(second.messages)) == (0, 1)


def test_no_other_host_is_tried_if_a_host_refuses_the_recipient(shared: Shared) -> None:
    result, [_, second] = send_to_hosts(shared, {"rcpt": b"550 5.1.1 No such user"}, {})
    assert result.outcome == events.ATTEMPT_OUTCOME_PERMANENT
    assert not second.connections


def test_if_no_host_listens_the_result_is_not_connected(shared: Shared) -> None:
    result, _ = send_to_hosts(shared, None, None)
    assert result.outcome == events.ATTEMPT_OUTCOME_TEMPORARY
    assert not result.connected
    assert (result.reply.step, result.reply.code) == ("connect", 0)


def test_a_reply_takes_precedence_over_a_failed_connection(shared: Shared) -> None:
    result, _ = send_to_hosts(shared, {"greeting": b"421 Too busy"}, None)
    assert result.outcome == events.ATTEMPT_OUTCOME_TEMPORARY
    assert result.connected
    assert result.reply.code == 421


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
def test_the_next_host_is_tried_if_a_host_disconnects_or_defers(shared: Shared, acts: Acts) -> None:
    result, [first, second] = send_to_hosts(shared, acts, {})
    assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
    assert (len(first.messages), len(second.messages)) == (0, 1)


def test_a_message_is_offered_to_at_most_two_hosts(shared: Shared) -> None:
    later = {"rcpt": b"451 4.7.1 Later"}
    result, peers = send_to_hosts(shared, later, later, later)
    assert result.outcome == events.ATTEMPT_OUTCOME_TEMPORARY
    assert result.reply.code == 451
    assert [len(peer.connections) for peer in peers] == [1, 1, 0]


async def send_two(shared: Shared, peer: SmtpPeer) -> list[events.DeliveryAttempted]:
    """Send two messages, one after the other."""
    results: list[events.DeliveryAttempted] = []
    for name in ("first@receiver.example", "second@receiver.example"):
        results += (
            await shared.running.send(await shared.harness.assign(name, at=peer.address))
        ).values()
        await asyncio.sleep(0.2)
    return results


def test_a_message_is_delivered_if_the_server_closed_the_idle_connection(shared: Shared) -> None:
    async def scenario() -> None:
        end_of_data = [Act(b"250 Ok", close=True), Act()]
        async with SmtpPeer({"end_of_data": end_of_data}) as peer:
            results = await send_two(shared, peer)
            assert {one.outcome for one in results} == {events.ATTEMPT_OUTCOME_DELIVERED}
            assert len(peer.connections) == 2

    shared.runner.run(scenario())


def test_a_message_is_delivered_if_the_idle_connection_replies_421(shared: Shared) -> None:
    async def scenario() -> None:
        mail = [Act(), Act(b"421 4.4.2 Idle too long", close=True), Act()]
        async with SmtpPeer({"mail": mail}) as peer:
            results = await send_two(shared, peer)
            assert {one.outcome for one in results} == {events.ATTEMPT_OUTCOME_DELIVERED}
            assert len(peer.messages) == len(peer.connections) == 2

    shared.runner.run(scenario())


def test_a_refused_transaction_is_reset_before_the_next_message(shared: Shared) -> None:
    async def scenario() -> None:
        rcpt = [Act(b"550 5.1.1 No such user"), Act()]
        async with SmtpPeer({"rcpt": rcpt}) as peer:
            first, second = await send_two(shared, peer)
            assert first.outcome == events.ATTEMPT_OUTCOME_PERMANENT
            assert second.outcome == events.ATTEMPT_OUTCOME_DELIVERED
            assert len(peer.connections) == 1
            verbs = [one.split(" ")[0] for one in peer.commands]
            assert verbs == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA"]

    shared.runner.run(scenario())


def test_a_server_without_rset_gets_the_next_message_over_a_new_connection(shared: Shared) -> None:
    async def scenario() -> None:
        acts: Acts = {"rcpt": [Act(b"550 5.1.1 No such user"), Act()], "rset": b"502 5.5.1 What?"}
        async with SmtpPeer(acts) as peer:
            first, second = await send_two(shared, peer)
            assert first.outcome == events.ATTEMPT_OUTCOME_PERMANENT
            assert second.outcome == events.ATTEMPT_OUTCOME_DELIVERED
            assert len(peer.connections) == 2

    shared.runner.run(scenario())


@pytest.mark.parametrize(
    "pieces",
    [(b"250 2.0", b".0 queued\r\n"), (b"250-2.0.0 a\r\n", b"250 b\r\n"), (b"250 Ok\r", b"\n")],
)
def test_a_final_reply_in_two_segments_is_one_reply(
    shared: Shared, pieces: tuple[bytes, bytes]
) -> None:
    async def scenario() -> None:
        async with SmtpPeer({"end_of_data": Act(pieces=pieces)}) as peer:
            results = await shared.running.send(
                await shared.harness.assign(RECIPIENT, at=peer.address)
            )
            assert results[RECIPIENT].outcome == events.ATTEMPT_OUTCOME_DELIVERED
            assert not results[RECIPIENT].ambiguous
            assert len(peer.messages) == 1

    shared.runner.run(scenario())


def test_without_pipelining_no_command_follows_a_refusal(shared: Shared) -> None:
    async def scenario() -> None:
        plain = [one for one in EXTENSIONS if one != "PIPELINING"]
        acts = {"mail": b"550 5.7.1 Not you"}
        async with SmtpPeer(acts, extensions=plain) as peer:
            await shared.running.send(await shared.harness.assign(RECIPIENT, at=peer.address))
            assert [one.split(" ")[0] for one in peer.commands] == ["EHLO", "MAIL"]

    shared.runner.run(scenario())


def test_an_idle_connection_is_reused_only_for_its_host(shared: Shared) -> None:
    async def scenario() -> None:
        async with SmtpPeer() as one, SmtpPeer() as other:
            for peer in (one, other, one):
                batch = await shared.harness.assign(
                    RECIPIENT, at=peer.address, site="provider.example"
                )
                await shared.running.topics.publish(batch)
                await shared.running.topics.results(batch)
            assert (len(one.messages), len(other.messages)) == (2, 1)
            assert (len(one.connections), len(other.connections)) == (1, 1)

    shared.runner.run(scenario())


def test_the_source_address_and_ehlo_name_of_the_egress_source_are_used(shared: Shared) -> None:
    async def scenario() -> None:
        async with SmtpPeer() as peer:
            batch = await shared.harness.assign(RECIPIENT, at=peer.address, source_ip="127.0.0.9")
            results = await shared.running.send(batch)
            assert results[RECIPIENT].reply.local_ip == "127.0.0.9"
            assert peer.commands[0] == "EHLO out.sender.example"

    shared.runner.run(scenario())


def test_a_source_address_missing_on_this_machine_is_reported(shared: Shared) -> None:
    async def scenario() -> None:
        async with SmtpPeer() as peer:
            batch = await shared.harness.assign(RECIPIENT, at=peer.address, source_ip="192.0.2.1")
            results = await shared.running.send(batch)
            assert results[RECIPIENT].outcome == events.ATTEMPT_OUTCOME_TEMPORARY
            assert "no connection" in results[RECIPIENT].reply.text

    shared.runner.run(scenario())


def corrupt(problem: str, batch: list[DeliveryAssigned]) -> None:
    context = batch[0].context
    if problem == "missing":  # and its day has passed
        _, _, segment = context.content_ref.split("/", 2)
        context.content_ref = f"now/2020-01-01/{segment}"
    elif problem == "of another email":
        context.email_id = "0199c0de-0000-7000-8000-000000000000"
    elif problem == "deleted domain":
        context.domain_id = DELETED.domain_id
    elif problem == "no hosts":
        del batch[0].mx_hosts[:]


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ("missing", "missing from the store"),
        ("of another email", "does not belong"),
        ("deleted domain", "domain no longer exists"),
        ("no hosts", "no MX host"),
    ],
)
def test_a_message_that_cannot_be_rendered_fails_alone_with_a_reason(
    shared: Shared, problem: str, text: str
) -> None:
    async def scenario() -> None:
        async with SmtpPeer() as peer:
            batch = await shared.harness.assign(RECIPIENT, at=peer.address)
            corrupt(problem, batch)
            await shared.running.topics.publish([DELETED])
            good = await shared.harness.assign("good@receiver.example", at=peer.address)
            results = await shared.running.send([*batch, *good])
            assert results[RECIPIENT].outcome == events.ATTEMPT_OUTCOME_PERMANENT
            assert text in results[RECIPIENT].reply.text
            assert results["good@receiver.example"].outcome == events.ATTEMPT_OUTCOME_DELIVERED

    shared.runner.run(scenario())


def test_a_message_that_waits_for_its_domain_record_delays_no_other(shared: Shared) -> None:
    async def scenario() -> None:
        late = shared.harness.domain()
        late.domain_id = uuid7_text()
        async with SmtpPeer() as peer:
            early = await shared.harness.assign(RECIPIENT, at=peer.address)
            early[0].context.domain_id = late.domain_id
            good = await shared.harness.assign("good@receiver.example", at=peer.address)
            await shared.running.topics.publish(early)
            results = await shared.running.send(good)
            assert results["good@receiver.example"].outcome == events.ATTEMPT_OUTCOME_DELIVERED
            await shared.running.topics.publish([late])
            [result] = await shared.running.topics.results(early)
            assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED

    shared.runner.run(scenario())


def test_a_slow_server_receives_a_large_message_completely(shared: Shared) -> None:
    async def scenario() -> None:
        text = "".join(
            f"{n:09}. a line of a large message, and then some\n" for n in range(200_000)
        )
        content = make_content(text=text, html="")
        async with SmtpPeer({"body": Act(b"", wait_s=0.5)}) as peer:
            batch = await shared.harness.assign(RECIPIENT, at=peer.address, content=content)
            results = await shared.running.send(batch)
            assert results[RECIPIENT].outcome == events.ATTEMPT_OUTCOME_DELIVERED
            [received] = peer.messages
            assert (
                received.message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n").count(b"\n")
                == 200_000
            )

    shared.runner.run(scenario())


def test_every_recipient_gets_its_own_message_id_which_retries_keep(shared: Shared) -> None:
    async def scenario() -> None:
        async with SmtpPeer({"end_of_data": [Act(b"451 Later"), Act()]}) as peer:
            batch = await shared.harness.assign(
                RECIPIENT, "other@receiver.example", at=peer.address
            )
            await shared.running.send(batch)
            again = [DeliveryAssigned.FromString(one.SerializeToString()) for one in batch]
            for one in again:
                one.attempt = 2
            await shared.running.send(again)
            ids = {(one.rcpt_to, message_id_line(one.message)) for one in peer.messages}
            assert len(peer.messages) == 4
            assert len(ids) == 2

    shared.runner.run(scenario())


def message_id_line(message: bytes) -> bytes:
    [line] = [line for line in message.split(b"\r\n") if line.lower().startswith(b"message-id:")]
    return line
