"""delivery on real Kafka and PostgreSQL, speaking to a mail server on loopback."""

import asyncio
from pathlib import Path

import pytest

from contracts.delivery.v1 import events_pb2 as events
from tests.support.delivery import House
from tests.support.pair import FreshDatabase
from tests.support.smtp_peer import SmtpPeer


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
            assert answer.outcome == events.OUTCOME_DELIVERED
            assert (answer.reply.code, answer.reply.step) == (250, "dot")
            [taken] = peer.messages
            assert taken.mail_from == batch[0].envelope.return_path
            assert b"\r\nBye" in taken.message

    asyncio.run(story())
