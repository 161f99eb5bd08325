"""The tick: free capacity, close expired messages, and assign due ones."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import inf
from typing import NamedTuple

from google.protobuf.message import Message

from contracts.router.v1.events_pb2 import MessageClosed
from kernel import clock, metrics
from kernel.database import Transaction
from kernel.errors import Fenced
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox, OutboxEntry
from kernel.retry import retry_while_unavailable
from kernel.topics import encode
from services.router.domain.dispatch import DispatchContext, DispatchResult, dispatch
from services.router.domain.drr import ActiveQueue, allocate
from services.router.domain.events import ClosedMessage, message_closed, traceparent_of
from services.router.domain.expiry import expire
from services.router.domain.limits import Capacity
from services.router.domain.message import SANDBOX, UNRESOLVED, ScheduledQueue
from services.router.domain.round import (
    LingerTracker,
    Round,
    block_if_limited,
    due_rows,
    finish_round,
    remainder_of,
)
from services.router.domain.scopes import LimitScopes
from services.router.loops.misplaced import MisplacedQueues
from services.router.store import assignments, attempts, closings, directory, queues, usage
from services.router.store.tick import read_snapshot

SOURCES_INTERVAL_S = 2.0
EXPIRED_MAX = 500
UNBLOCKED_MAX = 200
BUSY_EVENTS_MIN = 16  # events in a tick; from here on, fewer ticks with more events cost less


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """messages_max, queues_max: per tick. interval_s: between ticks; idle_interval_s: the same
    without work."""

    messages_max: int
    queues_max: int
    interval_s: float
    idle_interval_s: float
    expire_interval_s: float
    republish_after_s: float


class TickResult(NamedTuple):
    entry: OutboxEntry
    next_s: float  # seconds until there is something to do


class Scheduler:
    """One per process; only the lease holder runs.

    new_dispatch_context: creates scopes without usage, and the other inputs of a decision.
    on_unresolved: called when messages wait for DNS.
    """

    def __init__(
        self,
        lease: Lease,
        outbox: Outbox,
        *,
        new_dispatch_context: Callable[[], DispatchContext],
        config: SchedulerConfig,
        on_unresolved: Callable[[], None],
        health: DependencyHealth,
    ) -> None:
        self._on_unresolved = on_unresolved
        self._lease = lease
        self._outbox = outbox
        self._new_context = new_dispatch_context
        self._config = config
        self._health = health
        self._wake_event = asyncio.Event()
        self._context: DispatchContext | None = None  # None: it must be read from the database
        self._fence: int | None = None  # the fence with which the context was read
        self._blocking_scopes: set[str] = set()
        self._capacities: dict[str, Capacity] = {}  # of blocking scopes after the last tick
        self._linger = LingerTracker()
        self._sources_read_at_s = 0.0
        self._misplaced = MisplacedQueues(lease)
        self._expired_at_s = 0.0
        self._last_event_count = 0  # in the last tick
        self._next_due_s = inf  # of the queues that were served last

    @property
    def is_leader(self) -> bool:
        return self._lease.fence is not None

    @property
    def ehlo_names(self) -> frozenset[str]:
        """The EHLO names of the egress sources; none until they are read."""
        return self._context.scopes.ehlo_names if self._context else frozenset()

    def wake(self) -> None:
        """Run the next tick now: there is work."""
        self._wake_event.set()

    def on_capacity_freed(self) -> None:
        """Wake the scheduler if any queue is blocked."""
        if self._blocking_scopes:
            self._wake_event.set()

    async def run(self) -> None:
        """Tick whenever there is work."""
        while True:
            wait_s = await retry_while_unavailable(self.tick, self._health)
            is_busy = self._last_event_count >= BUSY_EVENTS_MIN
            interval_s = self._config.interval_s / (1 if is_busy else 6)
            await asyncio.sleep(min(interval_s, wait_s))
            if wait_s > interval_s:
                await self._wait_for_wake(wait_s - interval_s)

    async def _wait_for_wake(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake_event.wait()
        except TimeoutError:
            pass

    async def tick(self) -> float:
        """Run one tick, if this process is the scheduler. Returns the seconds until the next."""
        self._wake_event.clear()
        if self._fence != self._lease.fence:
            self._context, self._fence = None, self._lease.fence
        if not self.is_leader:
            return self._config.idle_interval_s
        try:
            context = self._context or await self._load_counters()
            async with self._lease.transaction() as tx:
                result = await self._decide(tx, context)
                entry = result.entry
                failpoint("router.tick.in_transaction")
        except Fenced:
            self._context = None
            return self._config.idle_interval_s
        except BaseException:
            self._context = None  # memory counts capacity as spent that the database did not save
            raise
        failpoint("router.tick.committed")
        with self._lease.publishing():
            await self._outbox.publish(entry, self._health)
        failpoint("router.tick.published")
        unblocked = await self._unblock_queues()
        unblocked |= await self._unblock_misplaced()  # even if others are unblocked in every tick
        return 0.0 if unblocked else result.next_s

    async def _decide(self, tx: Transaction, context: DispatchContext) -> TickResult:
        if self._context is None:
            await self._take_over(tx, context)
        await self._read_sources(tx, context)
        snapshot = await read_snapshot(tx, limit=self._config.queues_max)
        self._free_capacity(snapshot.freed, context.scopes)
        events: list[Message] = list(await self._expire(tx))
        events += await self._assign_due(tx, context, active=snapshot.active, now_s=snapshot.now_s)
        now = clock.now()
        records = [encode(event, now, traceparent_of(event)) for event in events]
        self._last_event_count = len(events)
        wait_s = self._wait_s(context.scopes, snapshot.next_due_s, now_s=snapshot.now_s)
        return TickResult(await self._outbox.add(tx, records), wait_s)

    async def _load_counters(self) -> DispatchContext:
        """A context with the counters of the previous scheduler.

        They are read in pages, each in its own transaction: while a process parses a million rows,
        its transaction would exceed idle_in_transaction_session_timeout.
        """
        context = self._new_context()
        after: usage.CounterKey | None = usage.FIRST_KEY
        while after is not None:
            async with self._lease.transaction() as tx:
                counters, after = await usage.read_counters_page(tx, after)
            for counter in counters:
                context.scopes.usage.load(counter)
        return context

    async def _take_over(self, tx: Transaction, context: DispatchContext) -> None:
        """Raises Fenced if the counters may be those of an earlier scheduler."""
        if self._fence != self._lease.fence:
            raise Fenced(self._lease.name)
        in_flight, freed = await attempts.take_over(tx)
        for egress_id, site, count in in_flight:
            context.scopes.in_flight.load(egress_id, site, count)
        self._refund(freed, context.scopes)  # their rows are no longer assigned
        self._blocking_scopes = await queues.read_blocking_scopes(tx)
        self._sources_read_at_s = 0.0
        self._context = context

    async def _read_sources(self, tx: Transaction, context: DispatchContext) -> None:
        if clock.monotonic_s() - self._sources_read_at_s > SOURCES_INTERVAL_S:
            context.scopes.set_sources(await directory.load_cell_sources(tx))
            self._sources_read_at_s = clock.monotonic_s()

    def _free_capacity(self, freed: Sequence[attempts.FreedCapacity], scopes: LimitScopes) -> None:
        for one in freed:
            scopes.in_flight.free(one.egress_id, ScheduledQueue.of(one.queue_id).site, one.number)
        self._refund(freed, scopes)

    @staticmethod
    def _refund(freed: Sequence[attempts.FreedCapacity], scopes: LimitScopes) -> None:
        for one in freed:
            queue = ScheduledQueue.of(one.queue_id)
            if not one.connected and queue.site != SANDBOX:
                scopes.refund(queue, one.egress_id, count=one.number, spent_at_s=one.assigned_s)

    async def _expire(self, tx: Transaction) -> list[MessageClosed]:
        if clock.monotonic_s() - self._expired_at_s < self._config.expire_interval_s:
            return []
        rows = await closings.select_expired(tx, limit=EXPIRED_MAX)
        if len(rows) < EXPIRED_MAX:
            self._expired_at_s = clock.monotonic_s()
        return closed_events(await closings.close(tx, [expire(row) for row in rows]))

    async def _unblock_queues(self) -> bool:
        """Unblock as many queues as their scopes have capacity for. True if any scope had capacity.

        This takes its own transaction: one that locks queues in two statements could deadlock with
        a handler.
        """
        if self._context is None or not self._blocking_scopes:
            return False
        capacities = self._capacities.items()
        counts = {
            scope: min(capacity.available, UNBLOCKED_MAX)
            for scope, capacity in capacities
            if capacity.available > 0
        }
        if not counts:
            return False
        try:
            async with self._lease.transaction() as tx:
                unblocked = await queues.unblock(tx, counts)
        except Fenced:
            return False
        self._blocking_scopes -= {key for key, count in unblocked.items() if count < counts[key]}
        return True

    async def _unblock_misplaced(self) -> bool:
        if self._context is None or not self._blocking_scopes:
            return False
        return await self._misplaced.unblock(self._context.scopes)

    async def _assign_due(
        self,
        tx: Transaction,
        context: DispatchContext,
        *,
        active: Sequence[ActiveQueue],
        now_s: float,
    ) -> list[Message]:
        scopes = context.scopes
        allocation = allocate(
            active,
            scopes_of=scopes.scopes_of,
            capacity_of=lambda scope: scopes.capacity(scope, now_s=now_s),
            batch_max=self._config.messages_max,
        )
        due = await assignments.select_due(tx, allocation.quotas)
        ready = {key: due_rows(rows, allocation.quotas[key], now_s) for key, rows in due.items()}
        result = dispatch(chain.from_iterable(ready.values()), context, now_s=now_s)
        events = await self._save(tx, result, scopes=scopes, now_s=now_s)
        finished = finish_round(
            active,
            {key: remainder_of(rows, len(ready[key])) for key, rows in due.items()},
            blocked=allocation.blocked,
            as_blocked=partial(block_if_limited, scopes=scopes, now_s=now_s),
            linger=self._linger,
            now_s=now_s,
        )
        written = [queue.queue for queue, _ in finished.served]
        written += [ScheduledQueue.of(queue.queue_id) for queue in finished.blocked]
        await assignments.requeue(tx, result.requeues, written=written)
        await self._save_round(tx, finished, scopes)
        if result.requeues:
            self._next_due_s = now_s  # their new queues have work
            if any(one.queue.site == UNRESOLVED for one in result.requeues):
                tx.after_commit(self._on_unresolved)
        return events

    async def _save(
        self, tx: Transaction, result: DispatchResult, *, scopes: LimitScopes, now_s: float
    ) -> list[Message]:
        """Save guarded transitions, and refund the assignments that were not saved."""
        assigned = await assignments.assign(
            tx, result.assignments, republish_after_s=self._config.republish_after_s
        )
        events: list[Message] = []
        for assignment in result.assignments:
            if assignment.row.message_id in assigned:
                events.append(assignment.event)
            else:
                scopes.undo_spend(
                    ScheduledQueue.of(assignment.row.queue_id), assignment.egress_id, now_s=now_s
                )
        metrics.assigned.inc(len(events))
        events += closed_events(await closings.close(tx, result.closings))
        return events

    async def _save_round(self, tx: Transaction, finished: Round, scopes: LimitScopes) -> None:
        if finished.blocked:
            served_ids = [queue.queue_id for queue, _ in finished.served]
            await queues.lock(tx, served_ids + [queue.queue_id for queue in finished.blocked])
        await queues.record_served(tx, finished.served, counters=scopes.usage.drain_changes())
        await queues.block(tx, finished.blocked)
        self._blocking_scopes |= {queue.scope for queue in finished.blocked}
        self._next_due_s = finished.next_due_s

    def _wait_s(self, scopes: LimitScopes, next_due_s: float | None, *, now_s: float) -> float:
        """Seconds until a queue is due or a scope has capacity. New work may wake the loop
        earlier."""
        candidates_s = [self._next_due_s, inf if next_due_s is None else next_due_s]
        self._capacities = {key: scopes.capacity(key, now_s=now_s) for key in self._blocking_scopes}
        capacities = self._capacities.values()
        candidates_s += [now_s if one.available > 0 else one.available_at_s for one in capacities]
        wait_s = min(candidates_s, default=inf) - now_s
        return max(0.0, min(wait_s, self._config.idle_interval_s))


def closed_events(closed_messages: Sequence[ClosedMessage]) -> list[MessageClosed]:
    for closed_message in closed_messages:
        metrics.closed.labels(closed_message.state).inc()
    return [message_closed(closed_message) for closed_message in closed_messages]
