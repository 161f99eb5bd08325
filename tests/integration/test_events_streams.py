"""Streams of new events on real Kafka and PostgreSQL: each event once, over any reconnection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from contracts.events.v1.events_service_pb2 import (
    EventFilter,
    ListEmailsRequest,
    StreamEventsRequest,
    StreamEventsResponse,
)
from kernel.ids import uuid7_text
from kernel.rpc import RpcError
from services.events.api import event_feed, event_streams
from services.events.api.event_feed import CATCH_UPS_MAX
from tests.support.events import WITHIN_S, Running, ScenarioRunner, run_scenario, until
from tests.support.message_events import MessageEvents

__all__ = ["run_scenario"]

FIRST = "01890000-0000-7000-8000-000000000000"


class Reader:
    """What a stream has sent. position: where the next one goes on."""

    def __init__(self, responses: AsyncIterator[StreamEventsResponse]) -> None:
        self._responses = responses
        self.events: list[str] = []
        self.position = ""
        self.end = ""

    async def read(self) -> StreamEventsResponse:
        async with asyncio.timeout(WITHIN_S):
            response = await anext(self._responses)
        self.position = response.position or self.position
        self.end = response.end
        if response.HasField("event"):
            self.events.append(f"{response.event.type} {response.event.message_id}")
        return response

    async def read_until(self, count: int) -> list[str]:
        """Sorted: topics are read beside each other, so events have no order among them."""
        while len(self.events) < count:
            await self.read()
        return sorted(self.events)


@asynccontextmanager
async def stream(events: Running, **wanted: Any) -> AsyncIterator[Reader]:  # noqa: ANN401 - of a request
    """After its first response: from here on it misses nothing."""
    responses = events.peer.stream(events.stub.StreamEvents, StreamEventsRequest(**wanted))
    try:
        reader = Reader(responses)
        await reader.read()
        yield reader
    finally:
        await responses.aclose()


def delivered(*messages: MessageEvents) -> list[str]:
    return sorted(
        f"{kind} {one.message_id}" for one in messages for kind in ("email.sent", "email.delivered")
    )


def test_each_event_comes_once_over_reconnections(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        tenant = uuid7_text()
        messages = [MessageEvents(tenant_id=tenant) for _ in range(12)]
        seen: list[str] = []
        position = ""
        for n in range(0, 12, 2):
            async with stream(events, tenant_id=tenant, after=position) as reader:
                await events.publish(*messages[n].delivered())
                await events.publish(MessageEvents().accepted())  # another tenant's
                await reader.read_until(1)
                position, seen = reader.position, seen + reader.events
            await events.publish(*messages[n + 1].delivered())  # while nobody listens
        async with stream(events, tenant_id=tenant, after=position) as reader:
            seen += await reader.read_until(24 - len(seen))
        assert sorted(seen) == delivered(*messages)

    run_scenario.shared(scenario)


def test_a_transaction_that_commits_late_is_waited_for(run_scenario: ScenarioRunner) -> None:
    """It holds its transaction id while others, which began later, record newer events."""

    async def scenario(events: Running) -> None:
        tenant = uuid7_text()
        async with (
            stream(events, tenant_id=tenant) as reader,
            await psycopg.AsyncConnection.connect(events.database.url) as late,
        ):
            await late.execute("SELECT pg_current_xact_id()")
            first = MessageEvents(tenant_id=tenant)
            await events.publish(*first.delivered())
            await events.wait_recorded(first, 5)
            reading = asyncio.create_task(reader.read_until(2))
            await until_polled_twice(events)
            assert not reading.done()
            await late.commit()
            assert await reading == delivered(first)

    run_scenario.shared(scenario)


async def until_polled_twice(events: Running) -> None:
    """Each poll takes a transaction id."""
    [(first,)] = events.rows("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    polled = "SELECT pg_current_xact_id()::text::bigint"
    await until(lambda: events.rows(polled)[0][0] > first + 100)


def test_streams_that_catch_up_leave_connections_for_lists(
    run_scenario: ScenarioRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage, all clients connect again at once."""
    reading: list[int] = [0]
    released, load = asyncio.Event(), event_feed.load_events

    async def held(*given: Any, **more: Any) -> Any:  # noqa: ANN401 - of load_events
        reading.append(reading[-1] + 1)
        await released.wait()
        found = await load(*given, **more)
        reading.append(reading[-1] - 1)
        return found

    async def scenario(events: Running) -> None:
        message = MessageEvents()
        await events.publish(*message.delivered())
        await events.wait_recorded(message, 5)
        monkeypatch.setattr(event_streams, "load_events", held)
        streams = [catch_up(events, message) for _ in range(8)]
        caught_up = asyncio.gather(*streams)
        await until(lambda: reading[-1] == CATCH_UPS_MAX)
        listed = ListEmailsRequest(tenant_id=message.tenant_id, limit=1)
        for _ in streams:  # however many read by now
            assert len((await events.call(events.stub.ListEmails, listed)).emails) == 1
        released.set()
        assert await caught_up == [delivered(message)] * len(streams)
        assert max(reading) == CATCH_UPS_MAX

    run_scenario.shared(scenario)


async def catch_up(events: Running, message: MessageEvents) -> list[str]:
    async with stream(events, tenant_id=message.tenant_id, after=FIRST) as reader:
        return await reader.read_until(2)


def test_an_account_and_filters_select_the_events(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        account = uuid7_text()
        mine = MessageEvents("ann@example.net", account_id=account, tags={"kind": "order"})
        other = MessageEvents("bob@example.org", account_id=account)
        foreign = MessageEvents("ann@example.net", account_id=uuid7_text(), tags={"kind": "order"})
        filters = [
            EventFilter(to="ann@example.net"), EventFilter(domain="example.net"),
            EventFilter(tag="kind:order"), EventFilter(message_id=mine.message_id),
        ]  # fmt: skip
        for wanted in filters:
            async with stream(events, account_id=account, filter=wanted) as reader:
                for message in (foreign, other, mine):
                    await events.publish_in_order(*message.delivered())
                    await events.wait_recorded(message, 5)
                if wanted is filters[0]:
                    assert await reader.read_until(2) == delivered(mine)
            async with stream(events, account_id=account, filter=wanted, after=FIRST) as again:
                assert await again.read_until(2) == delivered(mine)
        by_type = EventFilter(types=["email.delivered"])
        async with stream(events, account_id=account, filter=by_type, after=FIRST) as reader:
            found = await reader.read_until(2)
            assert {one.split()[0] for one in found} == {"email.delivered"}

    run_scenario.shared(scenario)


def test_a_test_key_receives_test_mail_only(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        live = MessageEvents()
        trial = MessageEvents(tenant_id=live.tenant_id, test=True)
        async with stream(events, tenant_id=live.tenant_id, test_only=True) as reader:
            await events.publish(*live.delivered())
            await events.wait_recorded(live, 5)
            await events.publish(*trial.delivered())
            assert await reader.read_until(2) == delivered(trial)

    run_scenario.shared(scenario)


def test_a_slow_client_is_cut_off_and_misses_nothing_afterwards(
    run_scenario: ScenarioRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too slow for anything; then it reads the same by small pages."""
    monkeypatch.setattr(event_feed, "BACKLOG_MAX", 0)
    monkeypatch.setattr(event_feed, "EVENTS_MAX", 3)
    monkeypatch.setattr(event_streams, "EVENTS_MAX", 3)

    async def scenario(events: Running) -> None:
        tenant = uuid7_text()
        messages = [MessageEvents(tenant_id=tenant) for _ in range(6)]
        async with stream(events, tenant_id=tenant) as reader:
            position = reader.position
            for message in messages:
                await events.publish(*message.delivered())
            while not reader.end:
                await reader.read()
            assert (reader.end, reader.events) == ("slow", [])
        for message in messages:
            await events.wait_recorded(message, 5)
        monkeypatch.setattr(event_feed, "BACKLOG_MAX", 100)
        async with stream(events, tenant_id=tenant, after=position) as again:
            assert await again.read_until(12) == delivered(*messages)

    run_scenario.shared(scenario)


def test_a_silent_stream_has_a_position_to_go_on_from(
    run_scenario: ScenarioRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "IDLE_S", 0.05)

    async def scenario(events: Running) -> None:
        tenant = uuid7_text()
        message = MessageEvents(tenant_id=tenant)
        async with stream(events, tenant_id=tenant) as reader:
            first = reader.position
            while reader.position == first:
                await reader.read()
            position = reader.position
        await events.publish(*message.delivered())
        async with stream(events, tenant_id=tenant, after=position) as reader:
            assert await reader.read_until(2) == delivered(message)

    run_scenario.shared(scenario)


def test_an_unknown_type_is_refused(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        with pytest.raises(RpcError, match="unknown type"):
            async with stream(
                events, tenant_id=uuid7_text(), filter=EventFilter(types=["email.lost"])
            ):
                pass

    run_scenario.shared(scenario)


def test_streams_end_when_the_service_stops(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with stream(events, tenant_id=uuid7_text()) as reader:
            reading = asyncio.create_task(reader.read())
            events.stop.set()
            assert (await reading).end == "shutdown"

    run_scenario(scenario)
