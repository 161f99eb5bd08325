"""Mail that comes back to delivery becomes events, once, and nothing else does."""

import asyncio
import smtplib
import ssl
from pathlib import Path
from uuid import UUID

import pytest

from cli.smtp_dialogue import reply_to_recipient
from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived
from kernel.host_challenge import SMTP, HostChallenges, new_challenge
from kernel.ids import uuid7
from kernel.topics import event_id
from mail import verp
from mail.address import parse_mailbox
from services.delivery.api.return_path.server import return_addresses
from services.delivery.domain.return_path_challenge import challenge_address, is_reply_with
from tests.support.delivery import Harness
from tests.support.polling import until
from tests.support.return_path import FEEDBACK, HOST, counted, world_of
from tests.support.returned_mail import bounce, complaint
from tests.support.smtp_peer import Act, SmtpPeer
from tests.support.stack import shared_harness_fixture
from tests.support.submission import SECOND, SMUGGLED, RawClient, write_certificate

harness = shared_harness_fixture(Harness, scope="module")


async def test_a_bounce_after_the_delivery_is_an_event_once(harness: Harness) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        before = counted("repeated")
        for _ in range(3):
            assert await world.hand_in(bounce(path, "ann@receiver.example"), path) == (
                250,
                "2.0.0 Ok",
            )
        [event] = await world.await_reports(sent, 1)
        assert isinstance(event, BounceReceived)
        assert (event.tenant_id, event.email_id) == (harness.tenant_id, sent.context.email_id)
        assert (event.recipient, event.bounce_class) == (
            "ann@receiver.example",
            "invalid_recipient",
        )
        assert (event.reply.code, event.reply.step) == (550, "rcpt")
        assert not event.test
        assert counted("repeated") == before + 2
        # a complaint is another report; one that comes to the return path is about its message
        mail = complaint(path, "Subject: x")
        assert (await world.hand_in(mail, path, sender="abuse@receiver.example"))[0] == 250
        assert len(await world.await_reports(sent, 2)) == 2


async def test_a_bounce_in_words_is_known_by_its_null_sender(harness: Harness) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        mail = (
            b"From: postoffice@receiver.example\r\nSubject: Warning\r\n\r\n"
            b"ann@receiver.example - no such user here.\r\n"
        )
        before = counted("other")
        assert (await world.hand_in(mail, path, sender="postoffice@receiver.example"))[0] == 250
        assert counted("other") == before + 1
        assert (await world.hand_in(mail, path))[0] == 250
        [event] = await world.await_reports(sent, 1)
        assert isinstance(event, BounceReceived)
        assert event.bounce_class == "invalid_recipient"


async def test_a_complaint_at_the_feedback_address_names_its_message_by_the_signed_field(
    harness: Harness,
) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        [message] = [one.message for one in world.peer.messages]
        fields = message.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        kept = [one for one in fields if one.startswith(("X-Report-Token:", "Message-ID:"))]
        mail = complaint(FEEDBACK, "\n".join(kept))
        for _ in range(2):
            assert (await world.hand_in(mail, FEEDBACK.upper(), sender="fbl@isp.net"))[0] == 250
        [event] = await world.await_reports(sent, 1)
        assert isinstance(event, ComplaintReceived)
        assert (event.feedback_type, event.source) == ("abuse", "SomeGenerator/1.0")
        assert (event.tenant_id, event.recipient) == (harness.tenant_id, "ann@receiver.example")


async def test_complaints_of_two_types_about_a_message_are_one_event(harness: Harness) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        before = counted("repeated")
        for kind in ("fraud", "abuse"):
            mail = complaint(path, "Subject: x", feedback_type=kind)
            assert (await world.hand_in(mail, path))[0] == 250
        assert counted("repeated") == before + 1
        [event] = await world.await_reports(sent, 1)
        assert isinstance(event, ComplaintReceived)
        assert event.feedback_type == "fraud"
        other = ComplaintReceived(message_id=sent.message_id, feedback_type="abuse")
        assert event_id(event) == event_id(other)  # so consumers count it once, whoever reports


async def test_mail_that_reports_nothing_is_accepted_and_counted(harness: Harness) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        reply = b"From: ann@receiver.example\r\nSubject: %b\r\n\r\nI am away.\r\n"
        for result, mail in {
            "auto_reply": reply % b"Out of office",
            "challenge": reply % b"Please confirm your message",
            "other": reply % b"Thank you",
            "delay": bounce(path, "ann@receiver.example", action="delayed", status="4.4.1"),
            "delivered": bounce(path, "ann@receiver.example", action="delivered", status="2.0.0"),
            "not-spam": complaint(path, "Subject: x", feedback_type="not-spam"),
        }.items():
            before = counted(result)
            assert (await world.hand_in(mail, path, sender="ann@receiver.example"))[0] == 250
            assert counted(result) == before + 1, result
        assert await world.reports_on(sent) == []


async def test_reports_on_messages_that_were_not_delivered_have_no_effect(harness: Harness) -> None:
    async with world_of(harness) as world:
        unknown = verp.return_path(uuid7(), HOST, key=harness.return_path_key).address
        before = counted("unknown"), counted("not_delivered")
        assert (await world.hand_in(bounce(unknown, "x@y.example"), unknown))[0] == 250
        world.peer.refused_sources["127.0.0.1"] = b"550 5.1.1 no such user"
        refused = await world.deliver("nobody@receiver.example")
        path = refused.context.return_path
        assert (await world.hand_in(bounce(path, "nobody@receiver.example"), path))[0] == 250
        assert (counted("unknown"), counted("not_delivered")) == (before[0] + 1, before[1] + 1)
        assert await world.reports_on(refused) == []


async def test_a_bounce_that_comes_before_the_reply_is_recorded_is_an_event(
    harness: Harness,
) -> None:
    async with world_of(harness) as world:
        acts = {"end_of_data": Act(hang=True)}
        async with SmtpPeer(acts) as slow:
            [sent] = await harness.assign("ann@receiver.example", at=slow.address)
            await world.running.topics.publish([sent])
            await until(lambda: slow.messages)
            path = sent.context.return_path
            assert (await world.hand_in(bounce(path, "ann@receiver.example"), path))[0] == 250
            [event] = await world.await_reports(sent, 1)
            assert (event.tenant_id, event.email_id) == (harness.tenant_id, sent.context.email_id)


async def test_nobody_else_has_an_address(harness: Harness) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        forged = verp.return_path(UUID(sent.message_id), HOST, key=b"another key.....").address
        mail = bounce(path, "ann@receiver.example")
        for address in (
            forged, f"postmaster@{HOST}", f"abuse@{HOST}", f"bounce@{HOST}", "x@elsewhere.example",
            path.replace("bounce+", "fbl+"), f"{path.partition('@')[0]}0@{HOST}",
        ):  # fmt: skip
            assert (await world.hand_in(mail, address))[0] == 550, address
        for header in (
            f"X-Report-Token: {verp.token_of(forged)}",
            f"Return-Path: <{forged}>",
            f"Message-ID: <{sent.message_id}@sender.example>",
        ):
            assert (await world.hand_in(complaint(FEEDBACK, header), FEEDBACK))[0] == 250
        person = b"From: a@b.example\r\nSubject: Please stop\r\n\r\nNobody reads this.\r\n"
        assert (await world.hand_in(person, FEEDBACK, sender="a@b.example"))[0] == 550
        # a bounce counts at its own return path only
        assert (await world.hand_in(mail, FEEDBACK))[0] == 550
        assert await world.reports_on(sent) == []


async def test_without_the_database_the_sender_shall_try_again(harness: Harness) -> None:
    async with world_of(harness) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        mail = bounce(path, "ann@receiver.example")
        with harness.database.connect() as owner, owner.transaction():
            owner.execute(
                "SELECT FROM delivery.attempts WHERE message_id = %s FOR UPDATE", (sent.message_id,)
            )
            assert (await world.hand_in(mail, path))[0] == 451
        assert (await world.hand_in(mail, path))[0] == 250
        assert len(await world.await_reports(sent, 1)) == 1


async def test_the_listener_is_bounded(harness: Harness) -> None:
    limits = {"return_path_connections_max": 3, "return_path_client_connections_max": 2}
    async with world_of(harness, **limits) as world:
        sent = await world.deliver()
        path = sent.context.return_path
        for number, smuggled in enumerate(SMUGGLED):
            before = counted("other")
            content = b"From: a@a.example\r\nSubject: %d\r\n\r\nx" % number + smuggled + SECOND
            await asyncio.to_thread(send_as_is, world.port, path, content)
            assert counted("other") == before + 1
        replies = await asyncio.to_thread(greetings, world.port)
        assert [one[:3] for one in replies] == ["220", "220", "421"]
        assert await world.reports_on(sent) == []


def send_as_is(port: int, to: str, content: bytes) -> None:
    with RawClient(port, tls=False) as client:
        client.reply()
        client.send(b"EHLO client\r\n")
        client.send(f"MAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode(), 3)
        [reply] = client.send(content + b"\r\n.\r\n")
        assert reply.startswith("250"), (content, reply)
        assert client.send(b"QUIT\r\n") == ["221 2.0.0 Bye"]


def greetings(port: int) -> list[str]:
    """Of three clients that are connected at the same time."""
    with RawClient(port, tls=False) as one, RawClient(port, tls=False) as two:
        found = [one.reply(), two.reply()]
        with RawClient(port, tls=False) as three:
            return [*found, three.reply()]


async def test_a_bounce_arrives_over_starttls(harness: Harness, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    async with world_of(harness, tls_certificate=certificate, tls_key=key) as world:
        sent = await world.deliver()
        path = sent.context.return_path

        def over_tls() -> tuple[int, bytes]:
            with smtplib.SMTP("localhost", world.port, timeout=120) as client:
                client.starttls(context=ssl.create_default_context(cafile=certificate))
                client.ehlo()
                client.mail("")
                client.rcpt(path)
                return client.data(bounce(path, "ann@receiver.example"))

        assert (await asyncio.to_thread(over_tls))[0] == 250
        assert len(await world.await_reports(sent, 1)) == 1


async def test_the_return_path_proves_whose_it_is_and_takes_nothing_for_that(
    harness: Harness,
) -> None:
    challenge = new_challenge()
    recipient = challenge_address(challenge, "mx.sender.example")
    async with world_of(harness) as world:
        reply = await asyncio.to_thread(reply_to_recipient, "127.0.0.1", world.port, recipient)
        assert is_reply_with(
            reply, HostChallenges([harness.secret_key], SMTP).responses_to(challenge)
        )
        other = HostChallenges(["of another installation"], SMTP)
        assert not is_reply_with(reply, other.responses_to(challenge))
        assert (await world.hand_in(b"Subject: x\r\n\r\nx\r\n", recipient))[0] == 550


@pytest.mark.parametrize("address", ["no-address", "a@b@c"])
def test_a_feedback_address_that_is_none_is_refused(harness: Harness, address: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        harness.create_settings(feedback_addresses=address)


@pytest.mark.parametrize("address", ["FBL@Bücher.Example", "Reports <fbl@bücher.example>"])
def test_a_feedback_address_is_found_however_it_is_written(harness: Harness, address: str) -> None:
    ours = return_addresses(harness.create_settings(feedback_addresses=address))
    assert ours.takes(parse_mailbox("fbl@xn--bcher-kva.example"))
    assert ours.takes(parse_mailbox("Fbl@bücher.example"))
    assert not ours.takes(parse_mailbox("fbl@example.com"))


def test_a_certificate_needs_its_key(harness: Harness) -> None:
    with pytest.raises(ValueError, match="DELIVERY_TLS_KEY"):
        harness.create_settings(tls_certificate="/etc/certificate.pem")
