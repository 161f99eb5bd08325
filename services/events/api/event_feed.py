"""Reads new public events of emails for all streams of this process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel import clock
from kernel.database import Database, RowOwner, Transaction
from kernel.health import DependencyHealth
from kernel.ids import NIL
from kernel.retry import retry_while_unavailable
from services.events.domain.event_filter import EventFilter
from services.events.domain.search_columns import search_columns_of
from services.events.domain.settled import SettledPositions
from services.events.domain.state import LogEntry
from services.events.domain.timeline import TimelineEntry
from services.events.store import feed, lists

POLL_S = 0.2
EVENTS_MAX = 1_000  # that are read at once
BACKLOG_MAX = 1_000  # events that a stream has not sent yet
CATCH_UPS_MAX = 2  # streams that read at a time: lists need connections of the same pool
SLOW, SHUTDOWN = "slow", "shutdown"  # why a stream ends


class FeedEvent(NamedTuple):
    """accepted: of the event's message, None if unknown."""

    entry: TimelineEntry
    account_id: str | None
    accepted: MessageAccepted | None

    def is_for(self, owner: RowOwner, event_filter: EventFilter) -> bool:
        event = self.entry.event
        owned = (
            event.tenant_id == owner.tenant_id
            if owner.tenant_id
            else self.account_id == owner.account_id
        )
        columns = search_columns_of(LogEntry(event, self.entry.seq, self.entry.public_seq))
        return owned and event_filter.matches(columns, event.subject_id, self.accepted)


@dataclass(slots=True)
class FeedSubscription:
    """ended: why no more events come. awake: set when there is something to send."""

    owner: RowOwner
    event_filter: EventFilter
    events: deque[FeedEvent] = field(default_factory=deque)
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: str = ""

    def add(self, found: Iterable[FeedEvent]) -> None:
        for one in found:
            if not self.ended and one.is_for(self.owner, self.event_filter):
                self.events.append(one)
                self.awake.set()
                if len(self.events) > BACKLOG_MAX:
                    self.end(SLOW)

    def end(self, reason: str) -> None:
        """What was not sent is dropped: the client can go on from what it has."""
        self.events.clear()
        self.ended = reason
        self.awake.set()


class EventFeed:
    """One query for all streams, and none without a stream. bound: the streams that are up to date
    have all events with positions below it. catching_up: held while a stream reads a page of
    earlier ones."""

    def __init__(self, database: Database, health: DependencyHealth) -> None:
        self._database = database
        self._health = health
        self._settled = SettledPositions()
        self._subscriptions: list[FeedSubscription] = []
        self._readers = 0
        self._wanted, self._started = asyncio.Event(), asyncio.Event()
        self._polling = asyncio.Lock()
        self._is_closed = False
        self.bound = NIL
        self.catching_up = asyncio.Semaphore(CATCH_UPS_MAX)

    async def run(self) -> None:
        """A loop."""
        try:
            while True:
                await self._wanted.wait()
                await retry_while_unavailable(self._poll, self._health)
                if not self._readers:  # the last one left during the poll
                    self._forget()
                await asyncio.sleep(POLL_S)
        finally:
            self._is_closed = True
            self._started.set()
            for one in self._subscriptions:
                one.end(SHUTDOWN)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Keep `bound` up to date in the block."""
        self._readers += 1
        self._wanted.set()
        try:
            await self._started.wait()
            yield
        finally:
            self._readers -= 1
            if not self._readers and not self._is_closed:
                self._forget()

    def _forget(self) -> None:
        """Or the next reader would start where the last one left."""
        self.bound, self._settled = NIL, SettledPositions()
        self._wanted.clear()
        self._started.clear()

    @asynccontextmanager
    async def subscribed(self, subscription: FeedSubscription) -> AsyncIterator[UUID]:
        """Gives the position from which the subscription gets all events, in the block."""
        async with self._polling:
            if self._is_closed:
                subscription.end(SHUTDOWN)
            self._subscriptions.append(subscription)
            start = self.bound
        try:
            yield start
        finally:
            self._subscriptions.remove(subscription)

    async def _poll(self) -> None:
        async with self._polling:
            began_ms = clock.now_ms()
            async with self._database.transaction() as tx:
                observed = await feed.observe(tx)
                self._settled.observe(**observed._asdict(), began_ms=began_ms)
                high = self._settled.bound
                found = await self._read(tx, high) if NIL < self.bound < high else []
            if len(found) == EVENTS_MAX:
                high = UUID(int=UUID(found[-1].entry.position).int + 1)
            for one in self._subscriptions:
                one.add(found)
            self.bound = max(self.bound, high)
            if self.bound > NIL:
                self._started.set()

    async def _read(self, tx: Transaction, high: UUID) -> list[FeedEvent]:
        owners = [one.owner for one in self._subscriptions if not one.ended]
        if not owners:
            return []
        return await load_events(tx, owners, low=self.bound, high=high)


async def load_events(
    tx: Transaction, owners: Iterable[RowOwner], *, low: UUID, high: UUID
) -> list[FeedEvent]:
    """The first EVENTS_MAX, from low to below high."""
    listed = list(owners)
    found = await feed.new_events(
        tx,
        tenants={one.tenant_id for one in listed if one.tenant_id},
        accounts={one.account_id for one in listed if one.account_id},
        low=low, high=high, limit=EVENTS_MAX,
    )  # fmt: skip
    messages = {one.entry.event.subject_id for one in found if one.entry.event.email_id}
    accepts = await lists.load_accepted_events(tx, sorted(messages)) if messages else {}
    return [FeedEvent(*one, accepts.get(one.entry.event.subject_id)) for one in found]
