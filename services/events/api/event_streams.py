"""Streams of the public events of emails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

from contracts.events.v1.events_service_pb2 import StreamEventsRequest, StreamEventsResponse
from kernel.database import Database, RowOwner
from kernel.ids import MAX, NIL
from kernel.rpc import Context, map_stream_errors
from services.events.api.emails import event_filter_of, event_to_proto
from services.events.api.event_feed import (
    EVENTS_MAX,
    EventFeed,
    FeedEvent,
    FeedSubscription,
    load_events,
)
from services.events.api.requests import owner_of, parse_cursor
from services.events.domain.event_filter import EventFilter
from services.events.domain.webhook_attempt import public_event_id

IDLE_S = 15.0


class EventStreamRpcs:
    tenant_database: Database
    feed: EventFeed

    @map_stream_errors
    async def StreamEvents(  # noqa: N802
        self, request: StreamEventsRequest, _: Context
    ) -> AsyncIterator[StreamEventsResponse]:
        """First the events that are recorded already, by pages; then new ones."""
        owner, event_filter = owner_of(request), event_filter_of(request)
        after = parse_cursor(request.after, "after")
        async with self.feed.reading():
            low = position_after(after) if after else self.feed.bound
            yield position_response(low)
            while True:
                recorded = self._recorded(owner, event_filter, low=low)
                async for low, response in recorded:  # noqa: B007 - it goes on from there
                    yield response
                subscription = FeedSubscription(owner, event_filter)
                async with self.feed.subscribed(subscription) as start:
                    if low < start:  # more was recorded since the last page
                        continue
                    async for response in self._new(subscription, low=low):
                        yield response
                    return

    async def _recorded(
        self, owner: RowOwner, event_filter: EventFilter, *, low: UUID
    ) -> AsyncIterator[tuple[UUID, StreamEventsResponse]]:
        """With the position from which the stream goes on."""
        while low < (high := self.feed.bound):
            async with (
                self.feed.catching_up,
                self.tenant_database.transaction(**owner._asdict()) as tx,
            ):
                found = await load_events(tx, [owner], low=low, high=high)
            for one in found:
                if one.is_for(owner, event_filter):
                    yield low, event_response(one)
            is_full = len(found) == EVENTS_MAX
            low = UUID(int=UUID(found[-1].entry.position).int + 1) if is_full else high
            yield low, position_response(low)

    async def _new(
        self, subscription: FeedSubscription, *, low: UUID
    ) -> AsyncIterator[StreamEventsResponse]:
        while not subscription.ended:
            bound = self.feed.bound
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await subscription.awake.wait()
            subscription.awake.clear()
            if not subscription.events and not subscription.ended:
                yield position_response(max(low, bound))
            while subscription.events:
                one = subscription.events.popleft()
                if one.entry.position >= str(low):
                    yield event_response(one)
        yield StreamEventsResponse(end=subscription.ended)


def position_after(position: str) -> UUID:
    """The next one; the last has none."""
    return UUID(int=min(UUID(position).int + 1, MAX.int))


def event_response(found: FeedEvent) -> StreamEventsResponse:
    event = event_to_proto(found.entry, found.accepted)
    return StreamEventsResponse(event=event, position=event.id)


def position_response(low: UUID) -> StreamEventsResponse:
    """All events below it were sent."""
    return StreamEventsResponse(position=public_event_id(str(UUID(int=max(low.int - 1, NIL.int)))))
