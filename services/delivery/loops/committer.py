"""Group commit to the journal: `data_sent` before end of data, and outcomes after it."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from opentelemetry.trace import SpanKind

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock, metrics
from kernel.database import Database
from kernel.failpoint import failpoint
from kernel.group_commit import GroupCommit
from kernel.health import DependencyHealth
from kernel.outbox import RECORD_BYTES, ROW_BYTES_MAX, Outbox, OutboxEntry
from kernel.telemetry import record_span
from kernel.topics import encode
from services.delivery.store.journal import AttemptClaim, FinishedAttempt, Journal, outcome_name

GROUP_MAX = 500
LINGER_S = 0.02  # a statement costs as much as ten of its steps


class JournalCommitter:
    """Commits steps together as they arrive. A step returns False if the row is no longer ours."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        journal: Journal,
        health: DependencyHealth,
        sweep_after_s: float,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._journal = journal
        self._health = health
        self._sweep_after_s = sweep_after_s
        self._group: GroupCommit[AttemptClaim | FinishedAttempt, bool] = GroupCommit(
            self._commit, items_max=GROUP_MAX, bytes_max=ROW_BYTES_MAX, linger_s=LINGER_S
        )
        self._publishing: set[asyncio.Task[None]] = set()

    async def record_data_sent(self, claim: AttemptClaim) -> bool:
        """Record `data_sent`. If True, it is durable, and end of data may be sent.

        Raises Unavailable.
        """
        return await self._group.submit(claim)

    async def finish(self, finished: FinishedAttempt) -> bool:
        """Record the outcome and publish its event. False if another worker has finished it.

        Raises Unavailable.
        """
        return await self._group.submit(finished, size=outbox_bytes(finished))

    async def wait_idle(self) -> None:
        """Return when everything is committed and published."""
        await self._group.wait_idle()
        while self._publishing:
            await asyncio.wait(self._publishing)

    def _publish_in_background(self, entry: OutboxEntry) -> None:
        task = asyncio.create_task(self._publish(entry))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self, entry: OutboxEntry) -> None:
        await self._outbox.publish(entry, self._health)
        failpoint("delivery.outcome.published")

    async def _commit(self, items: Sequence[AttemptClaim | FinishedAttempt]) -> list[bool]:
        applied, row = await self._journal.commit(
            self._database, items, sweep_after_s=self._sweep_after_s
        )
        finished = [
            one
            for one, is_applied in zip(items, applied, strict=True)
            if is_applied and isinstance(one, FinishedAttempt)
        ]
        if row is not None:
            failpoint("delivery.outcome.committed")
            entry, octets = OutboxEntry(), sum(map(outbox_bytes, finished))
            self._outbox.register_row(entry, row, [one.record for one in finished], octets=octets)
            self._publish_in_background(entry)
        count_results(finished)
        return applied


def finished_attempt(
    claim: AttemptClaim, event: DeliveryAttempted, traceparent: str
) -> FinishedAttempt:
    """A finished attempt with its encoded record, which is made before the commit."""
    return FinishedAttempt(claim, event, encode(event, clock.now(), traceparent))


def record_attempt_span(assignment: DeliveryAssigned, event: DeliveryAttempted) -> str:
    """Record the attempt as a span, and return the trace context for its event."""
    trace = record_span(
        "delivery.attempt",
        assignment.context.traceparent.encode(),
        began_ns=(clock.now_ms() - event.duration_ms) * 1_000_000,
        kind=SpanKind.CLIENT,
        attributes={"smtp.reply.code": event.reply.code, "obm.site": assignment.site},
    )
    return (trace or b"").decode()


def outbox_bytes(finished: FinishedAttempt) -> int:
    """Its size in the outbox row."""
    return RECORD_BYTES + len(finished.record.value)


def count_results(finished: Sequence[FinishedAttempt]) -> None:
    for outcome, count in Counter(outcome_name(one.event) for one in finished).items():
        metrics.attempted.labels(outcome).inc(count)
    if ambiguous := sum(one.event.ambiguous for one in finished):
        metrics.ambiguous.inc(ambiguous)
