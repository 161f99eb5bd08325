"""The audit of messages: every accepted message must close, and the event log must know it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from google.protobuf.message import Message

from contracts.events.v1.events_service_pb2 import FindOpenRequest
from contracts.router.v1.router_service_pb2 import ReconcileRequest, RepublishClosedRequest
from kernel import clock, metrics, times
from kernel.errors import Fenced, Unavailable
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.topics import encode
from services.ingest.clients import AUDIT_DEADLINE_S, ServiceClients
from services.ingest.domain.problem import Problem
from services.ingest.store.message_audit import MessageAuditStore, MessageDueForAudit, NextChecks

EXPIRED_FOR = timedelta(hours=1)  # the router closes messages within this time after they expire

logger = logging.getLogger(__name__)


class ConsumerProgress(Protocol):
    async def has_consumed(self, group: str, event: type[Message], *, before: datetime) -> bool: ...


Consumers: TypeAlias = Sequence[
    tuple[type[Message], str]
]  # event types, each with its consumer group


@dataclass(frozen=True, slots=True)
class MessageAuditConsumers:
    """accepted: consumers on the way to router. closed: consumers on the way to the event log."""

    accepted: Consumers
    closed: Consumers


@dataclass(frozen=True, slots=True)
class MessageAuditConfig:
    """batch: messages per call. recheck_after: minimum interval between two checks of a message.
    republish_max: messages that one run may publish again. record_age_min: minimum age of the
    records of a due message."""

    batch: int
    recheck_after: timedelta
    republish_max: int
    record_age_min: timedelta


class MessageAudit:
    """The lease holder audits all messages.

    Republished records add to the load of new mail. So there is a budget, the interval between two
    repairs of a message doubles, and nothing is republished while the consumers lag behind the
    earlier records: a message is not known to be lost then.
    """

    def __init__(  # noqa: PLR0913 - what an audit needs
        self,
        store: MessageAuditStore,
        clients: ServiceClients,
        progress: ConsumerProgress,
        *,
        consumers: MessageAuditConsumers,
        lease: Lease,
        outbox: Outbox,
        kafka: DependencyHealth,
        config: MessageAuditConfig,
    ) -> None:
        self._store = store
        self._clients = clients
        self._progress = progress
        self._consumers = consumers
        self._lease = lease
        self._outbox = outbox
        self._kafka = kafka
        self._config = config
        self._budget = 0  # messages that this run can still republish
        self._consumed: dict[str, bool] = {}  # by consumer group, in this run

    async def run_once(self) -> None:
        """Audit all due messages in batches. If a service does not respond, the next run
        continues."""
        self._budget = self._config.republish_max
        self._consumed = {}
        try:
            while self._lease.fence is not None:
                due = await self._store.due(self._config.batch)
                await self._reconcile([one for one in due if one.closed_at is None])
                await self._verify([one for one in due if one.closed_at is not None])
                if len(due) < self._config.batch:
                    return
        except Problem as problem:
            logger.warning("audit.postponed", extra={"reason": problem.detail})
        except Fenced:
            logger.info("audit.lease_lost")

    async def _reconcile(self, due: Sequence[MessageDueForAudit]) -> None:
        """Open messages: republish those that the router lacks; check the others after they
        expire."""
        if not due:
            return
        router = self._clients.router
        request = ReconcileRequest(contexts=[one.accepted.context for one in due])
        response = await router.call(router.stub.Reconcile, request, deadline_s=AUDIT_DEADLINE_S)
        next_checks: dict[str, datetime | None] = {
            one.message_id: self._next_check(one) for one in due
        }
        soon = clock.now() + self._config.recheck_after
        for known in response.known:
            # Checked again soon after it expires, until the router has closed it.
            next_checks[known.message_id] = max(
                times.clamp_timestamp(known.expires_at) + EXPIRED_FOR, soon
            )
        republish = set(await self._within_budget(response.republish_ids, self._consumers.accepted))
        await self._save(next_checks, [one for one in due if one.message_id in republish])
        metrics.audit_repairs.labels("republish_accepted").inc(len(republish))
        metrics.audit_repairs.labels("republish_closed").inc(len(response.closed_ids))

    async def _verify(self, due: Sequence[MessageDueForAudit]) -> None:
        """Closed messages: if the event log lacks the close, the router publishes it again."""
        if not due:
            return
        events, router = self._clients.events, self._clients.router
        find_request = FindOpenRequest(message_ids=[one.message_id for one in due])
        response = await events.call(
            events.stub.FindOpen, find_request, deadline_s=AUDIT_DEADLINE_S
        )
        open_in_log = set(response.message_ids)
        if republished := await self._within_budget(sorted(open_in_log), self._consumers.closed):
            request = RepublishClosedRequest(message_ids=republished)
            await router.call(router.stub.RepublishClosed, request, deadline_s=AUDIT_DEADLINE_S)
            metrics.audit_repairs.labels("republish_closed_to_log").inc(len(republished))
        await self._save(
            {
                o.message_id: self._next_check(o) if o.message_id in open_in_log else None
                for o in due
            }
        )

    def _next_check(self, due: MessageDueForAudit) -> datetime:
        """The next check of a message that is still missing."""
        now = clock.now()
        return now + max(now - due.since, self._config.recheck_after)

    async def _within_budget(self, missing: Sequence[str], consumers: Consumers) -> Sequence[str]:
        """The ids that this run may republish."""
        if not missing or not await self._have_consumed(consumers):
            return ()
        chosen = missing[: self._budget]
        self._budget -= len(chosen)
        return chosen

    async def _have_consumed(self, consumers: Consumers) -> bool:
        """True if all consumers have read the records published before."""
        before = clock.now() - self._config.record_age_min
        for event, group in consumers:
            if group not in self._consumed:
                self._consumed[group] = await self._has_consumed(group, event, before)
            if not self._consumed[group]:
                return False
        return True

    async def _has_consumed(self, group: str, event: type[Message], before: datetime) -> bool:
        try:
            _, age_s = await self._outbox.backlog()
            if age_s > self._config.record_age_min.total_seconds():
                return False  # records are still in the outbox
            return await self._progress.has_consumed(group, event, before=before)
        except Unavailable as error:
            logger.warning("audit.postponed", extra={"reason": f"{error} is unavailable"})
            return False

    async def _save(
        self, next_checks: NextChecks, republished: Sequence[MessageDueForAudit] = ()
    ) -> None:
        """Save the next checks and the republished records in one transaction; then publish."""
        now = clock.now()
        records = [encode(o.accepted, now, o.accepted.context.traceparent) for o in republished]
        async with self._lease.transaction() as tx:
            await self._store.postpone(tx, next_checks)
            entry = await self._outbox.add(tx, records)
        await self._outbox.publish(entry, self._kafka)
