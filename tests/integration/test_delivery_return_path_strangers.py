"""What strangers send to the return path: large mail, floods, loops, and requests for answers."""

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.delivery.v1.events_pb2 import BounceReceived
from mail import verp
from tests.support.delivery import Harness
from tests.support.return_path import FEEDBACK, world_of
from tests.support.returned_mail import bounce, complaint
from tests.support.stack import shared_harness_fixture
from tests.support.submission import SECOND, RawClient

ORIGINAL = b"X" * 76 + b"\r\n"
MIB = 1 << 20
FLOODS, FLOOD_MIB = 15, 12
KEPT_MIB = 2  # of each, with what the sockets hold

harness = shared_harness_fixture(Harness, scope="module")


def with_original(mail: bytes, octets: int) -> bytes:
    """A report with the whole message that it is about."""
    head, end = mail.rsplit(b"--b1--", 1)
    part = b"--b1\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n"
    return head + part + ORIGINAL * (octets // len(ORIGINAL)) + b"--b1--" + end


@pytest.mark.parametrize("octets", [2 * MIB, 40 * MIB])
async def test_a_bounce_with_the_whole_message_is_an_event(harness: Harness, octets: int) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        mail = with_original(bounce(path, "ann@receiver.example"), octets)
        for _ in range(2):
            assert (await world.hand_in(mail, path))[0] == 250
        [event] = await world.await_reports(sent, 1)
        assert isinstance(event, BounceReceived)
        assert event.bounce_class == "invalid_recipient"


async def test_what_is_discarded_smuggles_nothing(harness: Harness) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        head = b"Subject: x\r\n\r\n".ljust(MIB - 3, b"x") + b"\r\n."
        content = head + b"x" * MIB + b"xx\r\n" + SECOND

        def replies() -> list[str]:
            with RawClient(world.port, tls=False) as client:
                client.reply()
                client.send(b"EHLO client\r\n")
                client.send(f"MAIL FROM:<>\r\nRCPT TO:<{path}>\r\nDATA\r\n".encode(), 3)
                return client.send(content + b"\r\n.\r\n") + client.send(b"QUIT\r\n")

        assert [one[:3] for one in await asyncio.to_thread(replies)] == ["250", "221"]


async def test_mail_to_people_is_not_cut(harness: Harness) -> None:
    async with world_of(harness) as world:
        mail = b"Subject: Please help\r\n\r\n" + ORIGINAL * 20_000
        assert (await world.hand_in(mail, "postmaster@mx.sender.example"))[0] == 552


def open_floods(port: int, path: str) -> Iterator[RawClient]:
    """Clients that send, and do not end, a large message."""
    for _ in range(FLOODS):
        client = RawClient(port, tls=False)
        client.reply()
        client.send(b"EHLO client\r\n")
        client.send(f"MAIL FROM:<>\r\nRCPT TO:<{path}>\r\nDATA\r\n".encode(), 3)
        for _ in range(FLOOD_MIB):
            client.send(b"x" * MIB, 0)
        yield client


async def test_large_mail_takes_little_memory(harness: Harness) -> None:
    async with world_of(harness) as world:
        path = (await world.deliver()).context.return_path

        def flood() -> int:
            before = memory()
            with contextlib.ExitStack() as stack:
                for client in open_floods(world.port, path):
                    stack.enter_context(client)
                return memory() - before

        assert await asyncio.to_thread(flood) < FLOODS * KEPT_MIB * MIB < FLOODS * FLOOD_MIB * MIB


def memory() -> int:
    """Octets of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_no_mail_is_ever_generated(harness: Harness) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        forged = verp.token_of(path)[:-1] + "A"
        mail_with_requests = (
            b"From: <victim@elsewhere.example>\r\nReply-To: victim@elsewhere.example\r\n"
            b"Disposition-Notification-To: victim@elsewhere.example\r\n"
            b"Return-Receipt-To: victim@elsewhere.example\r\nSubject: Hello\r\n\r\nx\r\n"
        )
        loop = b"Received: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\r\n" * 200
        for mail in (
            mail_with_requests,
            loop + mail_with_requests,
            loop + bounce(path, "victim@elsewhere.example", action="delayed", status="4.4.1"),
            complaint(path, f"X-Report-Token: {forged}", feedback_type="not-spam"),
            b"",
            b"\r\n" * 1_000,
        ):
            for sender in ("", "victim@elsewhere.example"):
                await world.hand_in(mail, path, sender=sender)
                await world.hand_in(mail, FEEDBACK, sender=sender)
        assert await world.reports_on(sent) == []
        assert len(world.peer.messages) == 1
