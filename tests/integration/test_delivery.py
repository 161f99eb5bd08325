"""delivery on real Kafka and PostgreSQL, speaking to a mail server on loopback."""

import asyncio
from email import message_from_bytes
from pathlib import Path

import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.ingest.v1.content_pb2 import Header
from tests.support.delivery import House, a_content
from tests.support.smtp_peer import Act, SmtpPeer
from tests.support.stack import FreshDatabase


@pytest.fixture(scope="module")
def house(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    folder: Path = tmp_path_factory.mktemp("delivery")
    return House(bootstrap_servers, topic_prefix, database, folder)


def test_an_assigned_message_arrives_and_its_answer_is_told(house: House) -> None:
    async def story() -> None:
        async with SmtpPeer() as peer, house.running() as running:
            batch = await house.assigned("friend@receiver.example", at=peer.address)
            answers = await running.send(batch)
            answer = answers["friend@receiver.example"]
            assert answer.outcome == events.ATTEMPT_OUTCOME_DELIVERED
            assert (answer.reply.code, answer.reply.step) == (250, "end_of_data")
            [taken] = peer.messages
            assert taken.mail_from == batch[0].context.return_path
            assert b"\r\nBye" in taken.message

    asyncio.run(story())


def test_copies_with_one_message_id_have_each_its_own_outcome(house: House) -> None:
    """Also two emails whose sender uses an id twice."""
    own = Header(name="message-id", value="<twice@sender.example>")

    async def story() -> None:
        async with (
            SmtpPeer({"rcpt": [Act(), Act(b"550 5.1.1 No such user")]}) as peer,
            house.running() as running,
        ):
            first = await house.assigned(
                "friend@receiver.example", at=peer.address, content=a_content(headers=[own])
            )
            taken = await running.send(first)
            made = a_content(headers=[own])
            second = await house.assigned("gone@receiver.example", at=peer.address, content=made)
            refused = await running.send(second)
            assert [identity(one.message) for one in peer.messages] == ["<twice@sender.example>"]
        [one], [other] = taken.values(), refused.values()
        assert (one.message_id, one.outcome) == (
            first[0].context.message_id, events.ATTEMPT_OUTCOME_DELIVERED,
        )  # fmt: skip
        assert (other.message_id, other.outcome) == (
            second[0].context.message_id, events.ATTEMPT_OUTCOME_PERMANENT,
        )  # fmt: skip

    asyncio.run(story())


def test_html_alone_arrives_with_a_text_part(house: House) -> None:
    page = '<p>Hello Ann,</p><a href="https://a.example/">here it is</a>'
    made = a_content(html=page, text=None)

    async def story() -> None:
        async with SmtpPeer() as peer, house.running() as running:
            batch = await house.assigned("friend@receiver.example", at=peer.address, content=made)
            await running.send(batch)
            [taken] = peer.messages
        alternative = message_from_bytes(taken.message)
        parts = [part for part in alternative.walk() if not part.is_multipart()]
        plain, html = (part.get_payload(decode=True) for part in parts)
        assert alternative.get_content_type() == "multipart/alternative"
        assert plain == b"Hello Ann,\r\nhere it is <https://a.example/>\r\n"
        assert html == f"{page}\r\n".encode()

    asyncio.run(story())


def identity(message: bytes) -> str:
    return str(message_from_bytes(message)["Message-ID"])
