"""The stream of events over REST: it holds a slot no longer than its client."""

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import AsyncExitStack, aclosing
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from contracts.events.v1.events_service_pb2 import EventFilter, StreamEventsResponse
from contracts.ingest.v1.directory_pb2 import ApiKey
from services.ingest.api import email_events
from services.ingest.api.callers import Caller
from services.ingest.api.email_events import EmailEventResource
from services.ingest.api.rest.email_events import EventStreamResponse, _sse_messages
from services.ingest.api.tenant_slots import TenantSlots
from services.ingest.clients import ServiceClients
from tests.support.rest_api import ID, OpenAccess, application_with


class Events:
    """The events service, with a first response and then none."""

    stub = SimpleNamespace(StreamEvents=None)
    has_ended = False

    async def stream(self, *_: object) -> AsyncGenerator[StreamEventsResponse, None]:
        async with aclosing(self._calls()) as responses:
            async for one in responses:
                yield one

    async def _calls(self) -> AsyncGenerator[StreamEventsResponse, None]:
        try:
            yield StreamEventsResponse(position="evt_1")
            await asyncio.Event().wait()
        finally:
            try:
                for _ in range(5):  # a cancelled call takes some turns of the loop to end
                    await asyncio.sleep(0)
            finally:
                self.has_ended = True


def test_a_client_that_disconnects_gives_its_slot_back() -> None:
    async def scenario() -> None:
        service, slots = Events(), TenantSlots(1, 1)
        clients = cast(ServiceClients, SimpleNamespace(events=service))
        caller = cast(Caller, SimpleNamespace(
            owner=SimpleNamespace(_asdict=dict), test=False, tenant_id="t", account_id="a"
        ))  # fmt: skip
        exits, began = AsyncExitStack(), asyncio.Event()
        stream = EmailEventResource(clients, slots).stream(caller, EventFilter(), after="")
        responses = await exits.enter_async_context(stream)
        first = await anext(responses)

        async def receive() -> MutableMapping[str, Any]:
            await began.wait()
            await asyncio.sleep(0.05)
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message.get("body"):
                began.set()

        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        async with asyncio.timeout(5):
            response = EventStreamResponse(exits, _sse_messages(first, responses))
            await response(scope, receive, send)
        await asyncio.sleep(0.05)
        assert service.has_ended
        with slots.slot("t", ""):
            pass

    asyncio.run(scenario())


class Busy:
    """The events service, with one event after the other."""

    stub = SimpleNamespace(StreamEvents=None)

    async def stream(self, *_: object) -> AsyncGenerator[StreamEventsResponse, None]:
        for number in range(1000):
            yield StreamEventsResponse(position=f"evt_{number}")


async def test_a_connection_ends_in_time_so_that_its_key_is_checked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(email_events, "CONNECTION_S", -1.0)
    clients = cast(ServiceClients, SimpleNamespace(events=Busy()))
    caller = cast(Caller, SimpleNamespace(
        owner=SimpleNamespace(_asdict=dict), test=False, tenant_id="t", account_id="a"
    ))  # fmt: skip
    stream = EmailEventResource(clients, TenantSlots(1, 1)).stream(caller, EventFilter(), after="")
    async with stream as responses:
        found = [one async for one in responses]
    assert [one.position for one in found] == ["evt_0", ""]
    assert found[-1].end == "reconnect"


def test_head_of_the_stream_ends_with_its_headers() -> None:
    async def scenario() -> None:
        service = Events()
        names = ("router", "events", "delivery", "shield", "policies", "egress", "held")
        clients = ServiceClients(**dict.fromkeys(names, cast(Any, service)))
        app = application_with(OpenAccess(ApiKey(tenant_id=ID)), clients=clients)
        transport = httpx.ASGITransport(cast(Any, app))
        async with asyncio.timeout(5), httpx.AsyncClient(transport=transport) as client:
            response = await client.head("http://x/v1/emails/events/stream")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert service.has_ended

    asyncio.run(scenario())
