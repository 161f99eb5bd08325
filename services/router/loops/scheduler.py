"""The tick of a cell: apply results, close expired messages, and assign due ones.

The cell decides; the scheduler is its lease, transaction, publishing and rhythm.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import inf

from google.protobuf.message import Message

from contracts.router.v1.policies_pb2 import PolicyCommand
from contracts.router.v1.results_pb2 import Results
from kernel import clock, metrics
from kernel.database import Transaction
from kernel.errors import Fenced
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.retry import retry_while_unavailable
from services.router.domain.batch_size import BatchSizeController
from services.router.domain.cell import Cell
from services.router.domain.dispatch import DispatchResult
from services.router.domain.message import UNRESOLVED, ScheduledQueue
from services.router.domain.results import InFlightCount
from services.router.domain.round import Round
from services.router.domain.source_checks import SelfCheckFinding
from services.router.loops.assignment_publisher import AssignmentPublisher
from services.router.loops.blocked_queue_check import BlockedQueueCheck
from services.router.loops.campaign_release import release_held
from services.router.loops.handover import CellHandover, OutdatedCell
from services.router.loops.message_expiry import MessageExpiry, closed_events
from services.router.loops.queue_unblocking import unblock_queues
from services.router.loops.received_results import ResultDivider, SchedulerCallbacks
from services.router.loops.takeover import load_cell
from services.router.loops.tenant_claims import TenantClaimer
from services.router.loops.tick_result import TickResult, encode_events, is_bulk
from services.router.loops.tick_trigger import TickTrigger
from services.router.store import (
    assignments,
    cells,
    closings,
    directory,
    holds,
    policies,
    queues,
    results,
)
from services.router.store.address_key import AddressHashKey
from services.router.store.tick import TickInput, read_snapshot

SOURCES_INTERVAL_S = 2.0
PROMPT_AGE_S = 0.5  # of mail that is assigned promptly; older mail is a backlog
BUSY_EVENTS_MIN = 16  # events in a tick; from here on, fewer ticks with more events cost less


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """messages_max, queues_max: assigned and read in one tick. target_s: time that a tick should
    take. interval_s: between ticks; idle_interval_s: the same without work."""

    messages_max: int
    queues_max: int
    target_s: float
    interval_s: float
    idle_interval_s: float
    expire_interval_s: float
    republish_after_s: float


class Scheduler:
    """One per process and cell; only the lease holder runs. The cell has the name of the lease.

    new_cell: creates a cell without usage.
    """

    def __init__(
        self,
        lease: Lease,
        outbox: Outbox,
        *,
        new_cell: Callable[[], Cell],
        config: SchedulerConfig,
        callbacks: SchedulerCallbacks,
        health: DependencyHealth,
        address_key: AddressHashKey,
    ) -> None:
        self._callbacks = callbacks
        self._address_key = address_key
        self._lease = lease
        self._outbox = outbox
        self._new_cell, self._config = new_cell, config
        self._health = health
        self._trigger = TickTrigger(config.interval_s)
        self._publisher = AssignmentPublisher(lease, outbox, health, on_done=self._trigger.wake)
        self._cell: Cell | None = None  # None: it must be read from the database
        self._fence: int | None = None  # the fence with which the cell was read
        self._sources_read_at_s, self._last_event_count = 0.0, 0  # events: of the last tick
        self._blocked_check = BlockedQueueCheck(lease)
        self._claims = TenantClaimer(lease)
        self._receiver = ResultDivider(lease, self._claims, callbacks.notify)
        self._handover = CellHandover(lease, outbox, self._receiver)
        self._ticks = metrics.scheduler_ticks.labels(lease.name)
        self._moves: dict[str, list[str]] = {}  # pools that are to leave, by the cell to get them
        self._expiry = MessageExpiry(lease, config.expire_interval_s)
        self._after_tenant = queues.FIRST_TENANT
        self._batch = BatchSizeController(config.messages_max, config.target_s)

    @property
    def is_leader(self) -> bool:
        return self._lease.fence is not None

    @property
    def ehlo_names(self) -> frozenset[str]:
        """The EHLO names of the egress sources; none until they are read."""
        return self._cell.scopes.sources.ehlo_names if self._cell else frozenset()

    def host_problems(self, egress_id: str) -> list[SelfCheckFinding] | None:
        """Of the egress host of a source; None before the cell is read."""
        return self._cell.adaptive.checks.host_problems(egress_id) if self._cell else None

    def wake(self) -> None:
        """Run the next tick now: there is new mail."""
        self._trigger.wake()

    def on_results(self) -> None:
        """Wake the scheduler if any queue is blocked."""
        if self._cell and self._cell.blocking:
            self._trigger.on_capacity()

    def on_tenant_changed(self, tenant_id: str) -> None:
        """Its limits or its pool may have changed."""
        if self._cell:
            self._cell.on_tenant_changed(tenant_id)
            self.on_results()

    async def run(self) -> None:
        """Tick whenever there is work."""
        try:
            while True:
                wait_s = await retry_while_unavailable(self.tick, self._health)
                if self._publisher.is_busy:
                    await self._trigger.wait_for_broker(wait_s)
                else:
                    is_busy = self._last_event_count >= BUSY_EVENTS_MIN
                    await self._trigger.wait(wait_s, is_busy=is_busy)
        finally:
            await self._publisher.close()

    async def tick(self) -> float:
        """Run one tick, if this process is the scheduler. Returns the seconds until the next."""
        self._trigger.start_tick()
        express_only = self._publisher.start_tick()
        if self._fence != self._lease.fence:
            self._cell, self._fence = None, self._lease.fence
        if not self.is_leader:
            return self._config.idle_interval_s
        try:
            cell = self._cell or await load_cell(
                self._lease, self._new_cell(), self._callbacks.notify
            )
            cell.messages_max = self._batch.size
            began_s = clock.monotonic_s()
            async with self._lease.transaction() as tx:
                result = await self._decide(tx, cell, express_only=express_only)
                failpoint("router.tick.in_transaction")
        except OutdatedCell:  # which is known before memory changes
            is_saved = await self._or_reload(self._handover.save(self._cell))
            return 0.0 if is_saved else self._config.idle_interval_s
        except BaseException as error:
            self._cell = None  # memory counts capacity as spent that the database did not save
            if isinstance(error, Fenced):
                return self._config.idle_interval_s
            self._batch.record_failure()
            raise
        if not express_only:
            took_s = clock.monotonic_s() - began_s
            self._batch.record(
                messages=result.events, queues=result.queues, took_s=took_s, now_s=result.now_s
            )
        self._ticks.inc()
        failpoint("router.tick.committed")
        await self._publisher.publish(result.entry, in_background=result.has_bulk)
        unblocked = await self._or_reload(unblock_queues(self._lease, cell, result))
        unblocked |= await self._check_blocked(cell)  # even if others are in every tick
        unblocked |= await release_held(self._lease, cell.adaptive.campaigns)
        unblocked |= await self._or_reload(self._handover.run_once(cell, self._moves))
        work_s = cell.next_work_s(express_only=self._publisher.is_busy)
        wait_s = min(work_s, result.next_s) - result.now_s
        return 0.0 if unblocked else max(0.0, min(wait_s, self._config.idle_interval_s))

    async def _decide(self, tx: Transaction, cell: Cell, *, express_only: bool) -> TickResult:
        is_new, began_ns = self._cell is None, time.time_ns()
        name, in_flight, earlier = self._lease.name, list[InFlightCount](), Results()
        if is_new:
            in_flight, earlier = await results.take_over(tx, name)
        snapshot = await read_snapshot(
            tx,
            name,
            limit=self._batch.queues_max(self._config.queues_max),
            after_tenant=self._after_tenant,
        )
        if snapshot.revision != cell.share.revision:
            raise OutdatedCell(name)
        received = snapshot.results
        await self._read_sources(tx, cell, received.commands, now_s=snapshot.now_s)
        before, own = await self._receiver.divide(tx, cell, earlier, snapshot=snapshot)
        if is_new:
            self._take_over(cell)
            cell.load_in_flight(in_flight)
            cell.apply_results_before_load(before, commands=earlier.commands, now_s=snapshot.now_s)
        tenants = (one.queue.tenant_id for one in snapshot.active)
        self._after_tenant = max(tenants, default=queues.FIRST_TENANT)
        snapshot = snapshot._replace(active=self._claims.served(snapshot.active))
        cell.apply_results(own, commands=received.commands, now_s=snapshot.now_s)
        events: list[Message] = list(await self._expiry.run_once(tx))
        events += await self._assign_due(tx, cell, snapshot, express_only=express_only)
        events += await self._save_policies(tx, cell, now_s=snapshot.now_s)
        records = encode_events(events, began_ns=began_ns)
        self._last_event_count = len(events)
        next_s = inf if snapshot.next_due_s is None else snapshot.next_due_s
        return TickResult(
            await self._outbox.add(tx, records),
            has_bulk=any(is_bulk(event) for event in events),
            queues=len(snapshot.active),
            events=len(events),
            now_s=snapshot.now_s,
            next_s=next_s,
            has_due=next_s <= snapshot.now_s,
        )

    async def _save_policies(self, tx: Transaction, cell: Cell, *, now_s: float) -> list[Message]:
        if changes := cell.adaptive.drain(now_s):
            await policies.save(tx, self._lease.name, changes)
        return changes.published_by(self._lease.name)

    def _take_over(self, cell: Cell) -> None:
        """Raises Fenced if the counters may be those of an earlier scheduler."""
        if self._fence != self._lease.fence:
            raise Fenced(self._lease.name)
        self._cell = cell

    async def _read_sources(
        self, tx: Transaction, cell: Cell, commands: Iterable[PolicyCommand], *, now_s: float
    ) -> None:
        is_due = clock.monotonic_s() - self._sources_read_at_s > SOURCES_INTERVAL_S
        is_known = self._cell is not None and all(map(cell.adaptive.knows_source_of, commands))
        if is_due or not is_known:
            name = self._lease.name
            sources = await directory.load_cell_sources(tx, name)
            cell.replace_sources(
                sources, await directory.load_overflow_pools(tx, name), now_s=now_s
            )
            self._moves = await cells.read_moves(tx, name) if cell.share.count > 1 else {}
            self._sources_read_at_s = clock.monotonic_s()

    async def _assign_due(
        self, tx: Transaction, cell: Cell, snapshot: TickInput, *, express_only: bool
    ) -> list[Message]:
        now_s, active = snapshot.now_s, snapshot.active
        allocation = cell.plan(active, express_only=express_only, now_s=now_s)
        reads = cell.to_read(active, self._claims.granted(allocation.quotas))
        key, account_of = await self._address_key.load(), self._callbacks.account_of
        due = await assignments.select_due(tx, reads, address_key=key, account_of=account_of)
        if any(rows and rows[0].due_s > now_s - PROMPT_AGE_S for rows in due.values()):
            self._batch.record_prompt(now_s)
        result = cell.dispatch(due, allocation.quotas, now_s=now_s)
        events = await self._save(tx, cell, result, now_s=now_s)
        finished = cell.finish_round(
            active, allocation, result, is_complete=snapshot.is_complete, now_s=now_s
        )
        limits_of = partial(cell.scopes.ledger.limits_of, now_s=now_s)
        events += cell.blocking.reached.record(finished.blocked, limits_of, now_s=now_s)
        written = [one.queue.queue for one in finished.served]
        written += [ScheduledQueue.of(queue.queue_id) for queue in finished.blocked]
        await assignments.requeue(tx, self._lease.name, result.requeues, written=written)
        await self._save_round(tx, cell, finished, now_s=now_s)
        if any(one.queue.site == UNRESOLVED for one in result.requeues):
            tx.after_commit(self._callbacks.on_unresolved)
        return events

    async def _save(
        self, tx: Transaction, cell: Cell, result: DispatchResult, *, now_s: float
    ) -> list[Message]:
        """Save guarded transitions, and cancel the assignments that were not saved."""
        assigned = await assignments.assign(
            tx,
            self._lease.name,
            result.assignments,
            republish_after_s=self._config.republish_after_s,
        )
        saved = [one for one in result.assignments if one.row.message_id in assigned]
        if len(saved) < len(result.assignments):
            lost = [one for one in result.assignments if one.row.message_id not in assigned]
            cell.undo_assignments(lost, now_s=now_s)
        metrics.assigned.inc(len(saved))
        closed = closed_events(await closings.close(tx, result.closings))
        held = [one.event_at(now_s) for one in await holds.hold(tx, result.holds)]
        return [*(one.event for one in saved), *closed, *held]

    async def _save_round(
        self, tx: Transaction, cell: Cell, finished: Round, *, now_s: float
    ) -> None:
        if finished.blocked:
            served_ids = [one.queue.queue_id for one in finished.served]
            await queues.lock(tx, served_ids + [queue.queue_id for queue in finished.blocked])
        await queues.record_served(
            tx,
            self._lease.name,
            served=finished.served,
            counters=cell.counters_to_save(now_s=now_s),
        )
        await queues.block(tx, finished.blocked)

    async def _or_reload(self, step: Awaitable[bool]) -> bool:
        """If it fails, memory no longer knows what is stored."""
        try:
            return await step
        except BaseException as error:
            self._cell = None
            if not isinstance(error, OutdatedCell | Fenced):
                raise
            return isinstance(error, OutdatedCell)

    async def _check_blocked(self, cell: Cell) -> bool:
        return bool(self._cell and cell.blocking) and await self._blocked_check.run_once(cell)
