"""router on real Kafka and PostgreSQL: from screened to closed."""

from pathlib import Path

import pytest

from contracts.delivery.v1.events_pb2 import OUTCOME_DELIVERED
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_DELIVERED,
    DeliveryAssigned,
    MessageClosed,
)
from tests.support.pair import FreshDatabase
from tests.support.router import House, attempted, play, screened


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    return House(bootstrap_servers, topic_prefix, database, tmp_path)


def test_a_passed_message_is_assigned_delivered_and_closed(house: House) -> None:
    async def story() -> None:
        async with house.running():
            envelope = house.envelope()
            await house.publish(screened(envelope))
            [assigned] = await house.of(DeliveryAssigned, envelope.message_id)
            assert assigned.site == "site-a"
            assert assigned.attempt == 1
            assert assigned.ehlo == "mail.test"
            assert [(e.host, e.port) for e in assigned.exchangers] == [("127.0.0.5", 2525)]
            assert assigned.envelope == envelope
            await house.publish(attempted(assigned, OUTCOME_DELIVERED))
            [closed] = await house.of(MessageClosed, envelope.message_id)
            assert closed.state == CLOSED_STATE_DELIVERED
            assert closed.reply.code == 250
            async with house.rpc() as (peer, stub):
                answer = await peer.ask(
                    stub.GetStates,
                    pb.GetStatesRequest(
                        tenant_id=house.tenant_id, message_ids=[envelope.message_id]
                    ),
                )
            assert [(s.state, s.attempt, s.tries) for s in answer.states] == [("delivered", 1, 1)]

    play(story())
