"""The log on real Kafka and PostgreSQL: recorded once, in whatever order, and asked for."""

import asyncio

import pytest

from contracts.events.v1.events_service_pb2 import (
    ListEventsRequest,
)
from tests.support.events import Running, running
from tests.support.facts import Told
from tests.support.pair import FreshDatabase

Told.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture
def story(bootstrap_servers: str, database: FreshDatabase, topic_prefix: str):  # type: ignore[no-untyped-def]
    """Run a coroutine beside a running service."""

    def play(told) -> None:  # type: ignore[no-untyped-def]
        async def alone() -> None:
            async with (
                asyncio.timeout(60),
                running(bootstrap_servers, database, prefix=topic_prefix) as service,
            ):
                await told(service)

        asyncio.run(alone())

    return play


def test_a_delivered_message_has_its_timeline_by_cause(story) -> None:  # type: ignore[no-untyped-def]
    async def told(events: Running) -> None:
        message = Told()
        await events.tell(*reversed(message.delivered()))
        await events.recorded(message, 5)
        answer = await events.ask(
            events.stub.ListEvents,
            ListEventsRequest(tenant_id=message.tenant_id, email_id=message.email_id),
        )
        assert [event.type for event in answer.events] == [
            "email.sent",
            "message.screened",
            "message.assigned",
            "message.attempted",
            "email.delivered",
        ]
        assert sorted(event.seq for event in answer.events) == [1, 2, 3, 4, 5]
        assert answer.events[3].data["smtp"]["response"] == "queued as 1"
        assert await events.unclosed(message) == []

    story(told)
