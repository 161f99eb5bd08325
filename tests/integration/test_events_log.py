"""The log on real Kafka and PostgreSQL: recorded once, in whatever order, and asked for."""

from contracts.events.v1.events_service_pb2 import ListEventsRequest
from tests.support.events import Running, Story, story
from tests.support.facts import Told

__all__ = ["story"]


def test_a_delivered_message_has_its_timeline_by_cause(story: Story) -> None:
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
