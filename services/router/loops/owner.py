"""The tick: the owner drains results, closes what is out of time, and lets messages leave."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import inf
from typing import NamedTuple

from google.protobuf.message import Message

from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed
from kernel import clock, metrics
from kernel.backoff import Health, patiently
from kernel.database import Transaction
from kernel.errors import Fenced
from kernel.failpoint import failpoint
from kernel.lease import Lease
from kernel.outbox import Entry, Outbox
from kernel.topics import encode
from services.router.domain.dispatch import Desk, Dispatched, dispatch
from services.router.domain.expiry import expire
from services.router.domain.facts import Final, closed
from services.router.domain.fairness import OpenLane, Parked, refusing, share
from services.router.domain.message import RESOLVING, SANDBOX, Claimed, Lane
from services.router.domain.scopes import Scopes
from services.router.domain.turns import Busy, Left, Turn, end_turn
from services.router.domain.windows import Room
from services.router.loops.strays import Strays
from services.router.store import answers, claims, closings, directory, lanes, usage
from services.router.store.look import look

EGRESSES_EVERY_S = 2.0
EXPIRED_MAX = 500
WOKEN_MAX = 200
BUSY = 16  # events in a tick: from here on fewer ticks with more in each cost less


@dataclass(frozen=True, slots=True)
class Rhythm:
    """rows_max, lanes_max: per tick. gap_s, idle_s: from tick to tick, with and without work."""

    rows_max: int
    lanes_max: int
    gap_s: float
    idle_s: float
    expire_every_s: float
    ask_after_s: float


class Ticked(NamedTuple):
    entry: Entry
    next_s: float  # seconds until there is something to do


class Owner:
    """One per process; only the one with the lease does anything.

    new_desk: scopes without any usage, and what else a decision needs. on_names: mail waits for
    DNS.
    """

    def __init__(
        self,
        lease: Lease,
        outbox: Outbox,
        *,
        new_desk: Callable[[], Desk],
        rhythm: Rhythm,
        on_names: Callable[[], None],
        health: Health,
    ) -> None:
        self._on_names = on_names
        self._lease = lease
        self._outbox = outbox
        self._new_desk = new_desk
        self._rhythm = rhythm
        self._health = health
        self._woken = asyncio.Event()
        self._desk: Desk | None = None  # None: to be read from the database
        self._fence: int | None = None  # with which it was read
        self._rings: set[str] = set()
        self._rooms: dict[str, Room] = {}  # of the rings, at the end of the last tick
        self._busy = Busy()
        self._egresses_read_s = 0.0
        self._strays = Strays(lease)
        self._expired_s = 0.0
        self._told = 0  # in the last tick
        self._opens_s = inf  # when the first of the lanes has work that were served last

    @property
    def owns(self) -> bool:
        return self._lease.fence is not None

    @property
    def names(self) -> frozenset[str]:
        """Of the egresses, as far as they are read."""
        return self._desk.scopes.names if self._desk else frozenset()

    def wake(self) -> None:
        """There is work."""
        self._woken.set()

    def answered(self) -> None:
        """There is room again, for whom it may concern."""
        if self._rings:
            self._woken.set()

    async def run(self) -> None:
        """A loop: tick when there is something to do."""
        while True:
            wait_s = await patiently(self.tick, self._health)
            gap_s = self._rhythm.gap_s if self._told >= BUSY else self._rhythm.gap_s / 6
            await asyncio.sleep(min(gap_s, wait_s))
            if wait_s > gap_s:
                await self._rest(wait_s - gap_s)

    async def _rest(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def tick(self) -> float:
        """One tick, if this process is the owner; seconds until the next."""
        self._woken.clear()
        if self._fence != self._lease.fence:
            self._desk, self._fence = None, self._lease.fence
        if not self.owns:
            return self._rhythm.idle_s
        try:
            desk = self._desk or await self._counted()
            async with self._lease.transaction() as tx:
                ticked = await self._decide(tx, desk)
                entry = ticked.entry
                failpoint("router.tick.in_transaction")
        except Fenced:
            self._desk = None
            return self._rhythm.idle_s
        except BaseException:
            self._desk = None  # what memory took, the database did not
            raise
        failpoint("router.tick.committed")
        with self._lease.telling():
            await self._outbox.publish(entry, self._health)
        failpoint("router.tick.published")
        woken = await self._wake_rings()
        woken |= await self._wake_strays()  # also while others are woken all the time
        return 0.0 if woken else ticked.next_s

    async def _decide(self, tx: Transaction, desk: Desk) -> Ticked:
        if self._desk is None:
            await self._take_over(tx, desk)
        await self._read_egresses(tx, desk)
        seen = await look(tx, most=self._rhythm.lanes_max)
        self._apply(seen.results, desk.scopes)
        told: list[Message] = list(await self._expire(tx))
        told += await self._serve(tx, desk, opened=seen.opened, now_s=seen.now_s)
        now = clock.now()
        records = [encode(event, now, traceparent_of(event)) for event in told]
        self._told = len(told)
        wait_s = self._wait_s(desk.scopes, seen.opens_s, now_s=seen.now_s)
        return Ticked(await self._outbox.add(tx, records), wait_s)

    async def _counted(self) -> Desk:
        """A desk with the counters of the owner before.

        In pages, each in a transaction of its own: whoever reads a million rows in one is taken for
        a process that was stopped inside it. None but the owner writes them.
        """
        desk = self._new_desk()
        place: usage.Place | None = usage.START
        while place is not None:
            async with self._lease.transaction() as tx:
                counters, place = await usage.page(tx, place)
            for saved in counters:
                desk.scopes.usage.load(saved)
        return desk

    async def _take_over(self, tx: Transaction, desk: Desk) -> None:
        """Windows and rings. Raises Fenced where the counters may be those of an earlier owner."""
        if self._fence != self._lease.fence:
            raise Fenced(self._lease.name)
        in_flight, results = await answers.take_over(tx)
        for egress_id, site, count in in_flight:
            desk.scopes.in_flight.load(egress_id, site, count)
        self._give_back(results, desk.scopes)  # their rows are no longer assigned
        self._rings = await lanes.rings(tx)
        self._egresses_read_s = 0.0
        self._desk = desk

    async def _read_egresses(self, tx: Transaction, desk: Desk) -> None:
        if clock.monotonic_s() - self._egresses_read_s > EGRESSES_EVERY_S:
            desk.scopes.set_egresses(await directory.ways_out(tx))
            self._egresses_read_s = clock.monotonic_s()

    def _apply(self, results: Sequence[answers.Result], scopes: Scopes) -> None:
        for result in results:
            scopes.in_flight.release(result.egress_id, Lane.of(result.lane).site, result.number)
        self._give_back(results, scopes)

    @staticmethod
    def _give_back(results: Sequence[answers.Result], scopes: Scopes) -> None:
        for result in results:
            lane = Lane.of(result.lane)
            if not result.connected and lane.site != SANDBOX:
                scopes.give_back(
                    lane, result.egress_id, count=result.number, taken_s=result.assigned_s
                )

    async def _expire(self, tx: Transaction) -> list[MessageClosed]:
        if clock.monotonic_s() - self._expired_s < self._rhythm.expire_every_s:
            return []
        rows = await closings.expired(tx, most=EXPIRED_MAX)
        if len(rows) < EXPIRED_MAX:
            self._expired_s = clock.monotonic_s()
        return tell_closed(await closings.close(tx, [expire(row) for row in rows]))

    async def _wake_rings(self) -> bool:
        """k free places wake k lanes, not all. Whether there were places. A transaction of its
        own: whoever holds lanes of two statements waits for a handler that waits for it."""
        if self._desk is None or not self._rings:
            return False
        rooms = self._rooms.items()
        places = {ring: min(room.free, WOKEN_MAX) for ring, room in rooms if room.free > 0}
        if not places:
            return False
        try:
            async with self._lease.transaction() as tx:
                woken = await lanes.wake(tx, places)
        except Fenced:
            return False
        self._rings -= {ring for ring, count in woken.items() if count < places[ring]}
        return True

    async def _wake_strays(self) -> bool:
        if self._desk is None or not self._rings:
            return False
        return await self._strays.wake(self._desk.scopes)

    async def _serve(
        self, tx: Transaction, desk: Desk, *, opened: Sequence[OpenLane], now_s: float
    ) -> list[Message]:
        scopes = desk.scopes
        shares = share(
            opened,
            rings_of=scopes.rings_of,
            room_of=lambda ring: scopes.room(ring, now_s=now_s),
            batch_max=self._rhythm.rows_max,
        )
        claimed = await claims.claim(tx, shares.quotas)
        due = {lane: due_rows(rows, shares.quotas[lane], now_s) for lane, rows in claimed.items()}
        done = dispatch(chain.from_iterable(due.values()), desk, now_s=now_s)
        events = await self._save(tx, done, scopes=scopes, now_s=now_s)
        turn = end_turn(
            opened,
            {lane: left_of(rows, len(due[lane])) for lane, rows in claimed.items()},
            parked=shares.parked,
            shut_by=partial(shut_by, scopes=scopes, now_s=now_s),
            busy=self._busy,
            now_s=now_s,
        )
        written = [lane.lane for lane, _ in turn.served]
        written += [Lane.of(lane.key) for lane in turn.parked]
        await claims.relane(tx, done.relaned, written=written)
        await self._save_turn(tx, turn, scopes)
        if done.relaned:
            self._opens_s = now_s  # they have work elsewhere
            if any(moved.lane.site == RESOLVING for moved in done.relaned):
                tx.after_commit(self._on_names)
        return events

    async def _save(
        self, tx: Transaction, done: Dispatched, *, scopes: Scopes, now_s: float
    ) -> list[Message]:
        """Guarded moves; what did not move was not taken either."""
        moved = await claims.assign(tx, done.assignments, ask_after_s=self._rhythm.ask_after_s)
        events: list[Message] = []
        for made in done.assignments:
            if made.row.message_id in moved:
                events.append(made.event)
            else:
                scopes.untake(Lane.of(made.row.lane), made.egress_id, now_s=now_s)
        metrics.assigned.inc(len(events))
        events += tell_closed(await closings.close(tx, done.closings))
        return events

    async def _save_turn(self, tx: Transaction, turn: Turn, scopes: Scopes) -> None:
        if turn.parked:
            keys = [lane.key for lane, _ in turn.served] + [lane.key for lane in turn.parked]
            await lanes.lock(tx, keys)
        await lanes.serve(tx, turn.served, counted=scopes.usage.changes())
        await lanes.park(tx, turn.parked)
        self._rings |= {lane.ring for lane in turn.parked}
        self._opens_s = turn.opens_s

    def _wait_s(self, scopes: Scopes, opens_s: float | None, *, now_s: float) -> float:
        """Seconds until a lane opens or a ring has room; work and answers may come before."""
        moments = [self._opens_s, inf if opens_s is None else opens_s]
        self._rooms = {ring: scopes.room(ring, now_s=now_s) for ring in self._rings}
        rooms = self._rooms.values()
        moments += [now_s if room.free > 0 else room.release_s for room in rooms]
        wait_s = min(moments, default=inf) - now_s
        return max(0.0, min(wait_s, self._rhythm.idle_s))


def due_rows(rows: Sequence[Claimed], quota: int, now_s: float) -> Sequence[Claimed]:
    """Those whose time has come, at most as many as were granted. They are in order."""
    granted = rows[:quota]
    return [row for row in granted if row.due_s <= now_s]


def left_of(rows: Sequence[Claimed], gone: int) -> Left:
    """Of the rows that were looked at, the first were due and are gone."""
    return Left(gone > 0, rows[gone].due_s if len(rows) > gone else None)


def shut_by(lane: OpenLane, *, scopes: Scopes, now_s: float) -> Parked | None:
    """What refuses a lane that has more to send."""
    rings = scopes.rings_of(lane.lane)
    shut = refusing(rings, {ring: scopes.room(ring, now_s=now_s) for ring in rings})
    return Parked(lane.key, *shut) if shut else None


def tell_closed(finals: Sequence[Final]) -> list[MessageClosed]:
    for final in finals:
        metrics.closed.labels(final.state).inc()
    return [closed(final) for final in finals]


def traceparent_of(event: Message) -> str:
    """The trace of the request that the message came with."""
    return event.envelope.traceparent if isinstance(event, DeliveryAssigned) else ""
