"""Route resolution: messages without a known site wait for DNS in a queue per tenant and domain."""

import asyncio
from collections.abc import Callable, Iterator

from kernel import clock
from kernel.errors import Fenced
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.retry import retry_while_unavailable
from kernel.topics import encode
from services.router.clients.dns import RouteResolver
from services.router.domain.events import message_closed
from services.router.domain.resolution import DnsResults, apply_answers, look_up
from services.router.store import assignments, closings, strikes, unresolved


class RouteResolution:
    """lookups_max: domains of one tenant that are looked up at a time. on_requeued: called when
    the scheduler has work."""

    def __init__(
        self,
        lease: Lease,
        outbox: Outbox,
        *,
        routes: RouteResolver,
        on_requeued: Callable[[], None],
        health: DependencyHealth,
        idle_interval_s: float,
        lookups_max: int,
    ) -> None:
        self._lease = lease
        self._outbox = outbox
        self._routes = routes
        self._on_requeued = on_requeued
        self._health = health
        self._idle_interval_s = idle_interval_s
        self._lookups_max = lookups_max
        self._wake_event = asyncio.Event()

    def wake(self) -> None:
        """Run now: messages without a site have arrived, or DNS has answered."""
        self._wake_event.set()

    async def run(self) -> None:
        while True:
            self._wake_event.clear()
            more = await retry_while_unavailable(self._run_once, self._health)
            if more:
                continue
            try:
                async with asyncio.timeout(self._idle_interval_s):
                    await self._wake_event.wait()
            except TimeoutError:
                pass

    async def _run_once(self) -> bool:
        """True if there may be more work at once."""
        if self._lease.fence is None:
            return False
        try:
            async with self._lease.transaction() as tx:
                active = await unresolved.select_due_queues(tx, self._lease.name)
        except Fenced:
            return False
        results = look_up(active, self._routes.lookup, lookups_max=self._lookups_max)
        return bool(results.answers or results.failed) and await self._save(results)

    async def _save(self, results: DnsResults) -> bool:
        """True if the queues that DNS answered may hold more messages."""
        answers = {one.queue_id: answer for one, answer in results.answers.items()}
        per_queue_max = max(1, unresolved.MESSAGES_MAX // max(1, len(answers)))
        try:
            async with self._lease.transaction() as tx:
                rows = await unresolved.select_due_messages(
                    tx, list(answers), per_queue_max=per_queue_max
                )
                result = apply_answers(rows, answers)
                closed_messages = await closings.close(tx, result.closings)
                changes = await strikes.record_closed(tx, closed_messages)
                queues = [one.queue for one in (*results.answers, *results.failed)]
                await assignments.requeue(tx, self._lease.name, result.requeues, written=queues)
                await unresolved.record_lookups(tx, next_lookups(results))
                now = clock.now()
                events = (*map(message_closed, closed_messages), *changes)
                entry = await self._outbox.add(tx, [encode(one, now) for one in events])
        except Fenced:
            return False
        with self._lease.publishing():
            await self._outbox.publish(entry, self._health)
        if result.requeues:
            self._on_requeued()
        return len(rows) >= per_queue_max


def next_lookups(results: DnsResults) -> Iterator[unresolved.NextLookup]:
    """The next lookup of each queue."""
    for one in results.answers:
        yield unresolved.NextLookup(one)
    for one, failure in results.failed.items():
        yield unresolved.NextLookup(one, failure.retry_s, f"dns: {failure.text}"[:200])
