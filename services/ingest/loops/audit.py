"""The promise is audited: what stays open, and what the log does not know as closed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contracts.events.v1.events_service_pb2 import FindUnclosedRequest
from contracts.router.v1.router_service_pb2 import ReconcileRequest, RepeatClosedRequest
from kernel import clock, metrics
from kernel.backoff import Health
from kernel.errors import Fenced
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.topics import encode
from services.ingest.clients import AUDIT_DEADLINE_S, Others
from services.ingest.domain.problem import Problem
from services.ingest.store.audit import AuditStore, Due, Times

EXPIRED_FOR = timedelta(hours=1)  # after its end of life the router has closed a message

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """batch: messages per question. again_after: from a repair to the next look."""

    batch: int
    again_after: timedelta


class Audit:
    """One of the replicas asks; the others watch the lease."""

    def __init__(
        self,
        store: AuditStore,
        others: Others,
        *,
        lease: Lease,
        outbox: Outbox,
        kafka: Health,
        patience: Patience,
    ) -> None:
        self._store = store
        self._others = others
        self._lease = lease
        self._outbox = outbox
        self._kafka = kafka
        self._patience = patience

    async def look(self) -> None:
        """All that is due, in batches. Who does not answer is asked again the next time."""
        try:
            while self._lease.fence is not None:
                due = await self._store.due(self._patience.batch)
                await self._reconcile([one for one in due if not one.closed])
                await self._verify([one for one in due if one.closed])
                if len(due) < self._patience.batch:
                    return
        except Problem as problem:
            logger.warning("audit.postponed", extra={"reason": problem.detail})
        except Fenced:
            logger.info("another replica audits now")

    async def _reconcile(self, due: Sequence[Due]) -> None:
        """Open for long: unknown to the router → told again; known → until its end of life."""
        if not due:
            return
        router = self._others.router
        request = ReconcileRequest(envelopes=[one.accepted.envelope for one in due])
        answer = await router.ask(router.stub.Reconcile, request, deadline_s=AUDIT_DEADLINE_S)
        again = clock.now() + self._patience.again_after
        times: dict[str, datetime | None] = {one.message_id: again for one in due}
        for known in answer.known:
            # Past its end of life it is asked about again soon, until the router has closed it.
            times[known.message_id] = max(known.expires_at.ToDatetime(UTC) + EXPIRED_FOR, again)
        tell_again = set(answer.tell_again)
        await self._save(times, [one for one in due if one.message_id in tell_again])
        metrics.reconciled.labels("accepted told again").inc(len(tell_again))
        metrics.reconciled.labels("closed told again").inc(len(answer.closed))

    async def _verify(self, due: Sequence[Due]) -> None:
        """Closed here: the log must know it too, else the router tells it again."""
        if not due:
            return
        events, router = self._others.events, self._others.router
        asking = FindUnclosedRequest(message_ids=[one.message_id for one in due])
        answer = await events.ask(events.stub.FindUnclosed, asking, deadline_s=AUDIT_DEADLINE_S)
        unclosed = set(answer.message_ids)
        if unclosed:
            request = RepeatClosedRequest(message_ids=sorted(unclosed))
            await router.ask(router.stub.RepeatClosed, request, deadline_s=AUDIT_DEADLINE_S)
            metrics.reconciled.labels("closed repeated").inc(len(unclosed))
        again = clock.now() + self._patience.again_after
        await self._save({o.message_id: again if o.message_id in unclosed else None for o in due})

    async def _save(self, times: Times, told: Sequence[Due] = ()) -> None:
        """The next looks, and what is told again, in one transaction; then it is published."""
        now = clock.now()
        records = [encode(o.accepted, now, o.accepted.envelope.traceparent) for o in told]
        async with self._lease.transaction() as tx:
            await self._store.put_off(tx, times)
            entry = await self._outbox.add(tx, records)
        await self._outbox.publish(entry, self._kafka)
