"""The public events of emails: search, and a stream of new ones."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Literal, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_service_pb2 import (
    EventFilter,
    ListEventsRequest,
    LoggedEvent,
    StreamEventsRequest,
    StreamEventsResponse,
)
from kernel import clock
from kernel.tasks import cancel_and_wait
from services.ingest.api.callers import Caller
from services.ingest.api.tenant_slots import TenantSlots
from services.ingest.clients import ServiceClients

CONNECTION_S = 60.0  # then a client connects again, and its key is checked again
SILENCE_S = 45.0  # three times as long as events is silent when nothing happens


class EventPage(NamedTuple):
    """next: the cursor of the next page; empty at the end."""

    events: Sequence[LoggedEvent]
    next: str


class EmailEventResource:
    """Those of a tenant, or of all tenants of an account. A test key sees those of test mail."""

    def __init__(self, clients: ServiceClients, slots: TenantSlots) -> None:
        self._clients = clients
        self._slots = slots
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """A loop that ends the streams when the service stops, so that it need not wait for
        them."""
        try:
            await asyncio.Event().wait()
        finally:
            self._stopped.set()

    async def search(
        self,
        caller: Caller,
        wanted: EventFilter,
        *,
        limit: int,
        after: str,
        since: Timestamp | None,
        until: Timestamp | None,
    ) -> EventPage:
        """Newest first. Raises Problem."""
        events = self._clients.events
        request = ListEventsRequest(
            **caller.owner._asdict(), test_only=caller.test, filter=wanted, limit=limit,
            after=after, since=since, until=until,
        )  # fmt: skip
        response = await events.call(events.stub.ListEvents, request)
        return EventPage(response.events, response.next)

    @asynccontextmanager
    async def stream(
        self, caller: Caller, wanted: EventFilter, *, after: str
    ) -> AsyncIterator[AsyncIterator[StreamEventsResponse]]:
        """The events from `after` on, or from now on, and then new ones. Raises Problem: 429 if the
        tenant has too many streams."""
        events = self._clients.events
        request = StreamEventsRequest(
            **caller.owner._asdict(), test_only=caller.test, filter=wanted, after=after
        )
        detail = "There are too many open streams of events. Close one of them."
        owner = caller.tenant_id or caller.account_id
        with self._slots.slot(owner, detail):
            responses = events.stream(events.stub.StreamEvents, request)
            async with aclosing(self._until_stopped(responses)) as until_stopped:
                yield until_stopped

    async def _until_stopped(
        self, responses: AsyncGenerator[StreamEventsResponse, None]
    ) -> AsyncGenerator[StreamEventsResponse, None]:
        """Ends with a response that says why; raises Problem instead if there was none before."""
        stopped = asyncio.ensure_future(self._stopped.wait())
        ends_s = clock.monotonic_s() + CONNECTION_S
        async with aclosing(responses):
            try:
                while (response := await _next_before(responses, stopped)) is not None:
                    yield response
                    if response.end:
                        return
                    if clock.monotonic_s() > ends_s:
                        yield StreamEventsResponse(end="reconnect")
                        return
                yield StreamEventsResponse(end="shutdown")
            finally:
                stopped.cancel()


async def _next_before(
    responses: AsyncGenerator[StreamEventsResponse, None], stopped: "asyncio.Future[Literal[True]]"
) -> StreamEventsResponse | None:
    """The next response; None if there is none, for SILENCE_S or until the service stops."""
    following = asyncio.ensure_future(anext(responses, None))
    try:
        both: set[asyncio.Future[Any]] = {following, stopped}
        await asyncio.wait(both, timeout=SILENCE_S, return_when=asyncio.FIRST_COMPLETED)
        return following.result() if following.done() else None
    finally:
        # The tasks of a response are cancelled again and again; a generator that still runs cannot
        # be closed.
        await cancel_and_wait(following)


def split_types(text: str) -> list[str]:
    """The types of a list with commas."""
    return [one for one in (part.strip() for part in text.split(",")) if one]
