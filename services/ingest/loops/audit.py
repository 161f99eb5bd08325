"""The promise is audited: what stays open, and what the log does not know as closed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from google.protobuf.message import Message

from contracts.events.v1.events_service_pb2 import FindUnclosedRequest
from contracts.router.v1.router_service_pb2 import ReconcileRequest, RepeatClosedRequest
from kernel import clock, metrics, times
from kernel.backoff import Health
from kernel.errors import Fenced, Unavailable
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.topics import encode
from services.ingest.clients import AUDIT_DEADLINE_S, Others
from services.ingest.domain.problem import Problem
from services.ingest.store.audit import AuditStore, Due, Times

EXPIRED_FOR = timedelta(hours=1)  # after its end of life the router has closed a message

logger = logging.getLogger(__name__)


class Broker(Protocol):
    async def has_read(self, group: str, event: type[Message], *, before: datetime) -> bool: ...


Way: TypeAlias = Sequence[tuple[type[Message], str]]  # the events on it, and the groups that read


@dataclass(frozen=True, slots=True)
class Ways:
    """accepted: to the router. closed: to the event log."""

    accepted: Way
    closed: Way


@dataclass(frozen=True, slots=True)
class Patience:
    """batch: messages per question. again_after: from a look to the next, at least. told_max:
    messages that are told again in one look. told_before: how long ago what is due now was told
    last, at least."""

    batch: int
    again_after: timedelta
    told_max: int
    told_before: timedelta


class Audit:
    """One of the replicas asks; the others watch the lease.

    What is told again comes on top of the mail of the day, and every record of it has to be read.
    So it has a budget, comes half as often each time, and waits while those who read the way have
    not reached what was told before: then nothing is known to be lost.
    """

    def __init__(  # noqa: PLR0913 - whom it asks
        self,
        store: AuditStore,
        others: Others,
        broker: Broker,
        *,
        ways: Ways,
        lease: Lease,
        outbox: Outbox,
        kafka: Health,
        patience: Patience,
    ) -> None:
        self._store = store
        self._others = others
        self._broker = broker
        self._ways = ways
        self._lease = lease
        self._outbox = outbox
        self._kafka = kafka
        self._patience = patience
        self._left = 0  # of the budget, in this look
        self._has_read: dict[str, bool] = {}  # the ways, in this look

    async def look(self) -> None:
        """All that is due, in batches. Who does not answer is asked again the next time."""
        self._left = self._patience.told_max
        self._has_read = {}
        try:
            while self._lease.fence is not None:
                due = await self._store.due(self._patience.batch)
                await self._reconcile([one for one in due if one.closed_at is None])
                await self._verify([one for one in due if one.closed_at is not None])
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
        looks: dict[str, datetime | None] = {one.message_id: self._next(one) for one in due}
        soon = clock.now() + self._patience.again_after
        for known in answer.known:
            # Past its end of life it is asked about again soon, until the router has closed it.
            looks[known.message_id] = max(times.near(known.expires_at) + EXPIRED_FOR, soon)
        tell_again = set(await self._affordable(answer.tell_again, self._ways.accepted))
        await self._save(looks, [one for one in due if one.message_id in tell_again])
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
        if repeated := await self._affordable(sorted(unclosed), self._ways.closed):
            request = RepeatClosedRequest(message_ids=repeated)
            await router.ask(router.stub.RepeatClosed, request, deadline_s=AUDIT_DEADLINE_S)
            metrics.reconciled.labels("closed repeated").inc(len(repeated))
        await self._save(
            {o.message_id: self._next(o) if o.message_id in unclosed else None for o in due}
        )

    def _next(self, due: Due) -> datetime:
        """The next look at what is still missing."""
        now = clock.now()
        return now + max(now - due.since, self._patience.again_after)

    async def _affordable(self, missing: Sequence[str], way: Way) -> Sequence[str]:
        """Those that may be told again in this look."""
        if not missing or not await self._is_read(way):
            return ()
        chosen = missing[: self._left]
        self._left -= len(chosen)
        return chosen

    async def _is_read(self, way: Way) -> bool:
        """Whether what was told before has been read by everybody on the way."""
        before = clock.now() - self._patience.told_before
        for event, group in way:
            if group not in self._has_read:
                self._has_read[group] = await self._reached(group, event, before)
            if not self._has_read[group]:
                return False
        return True

    async def _reached(self, group: str, event: type[Message], before: datetime) -> bool:
        try:
            _, age_s = await self._outbox.backlog()
            if age_s > self._patience.told_before.total_seconds():
                return False  # it is still here
            return await self._broker.has_read(group, event, before=before)
        except Unavailable as error:
            logger.warning("audit.postponed", extra={"reason": f"{error} is away"})
            return False

    async def _save(self, times: Times, told: Sequence[Due] = ()) -> None:
        """The next looks, and what is told again, in one transaction; then it is published."""
        now = clock.now()
        records = [encode(o.accepted, now, o.accepted.envelope.traceparent) for o in told]
        async with self._lease.transaction() as tx:
            await self._store.put_off(tx, times)
            entry = await self._outbox.add(tx, records)
        await self._outbox.publish(entry, self._kafka)
