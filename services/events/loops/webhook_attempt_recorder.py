"""Records the results of attempts in groups: on their deliveries, and on their endpoints."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock
from kernel.database import Database, Transaction
from kernel.health import DependencyHealth
from kernel.outbox import Outbox, OutboxEntry
from kernel.retry import retry_while_unavailable
from kernel.topics import encode
from services.events.domain.schedule import GONE, EndpointResponse, should_disable
from services.events.domain.webhook_attempt import WebhookAttempt
from services.events.store import webhook_deliveries, webhooks
from services.events.store.webhook_deliveries import WebhookDeliveryUpdate

LINGER_S = 0.2  # a crash in this time repeats the attempts, with the same ids
GROUP_MAX = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookAttemptResult:
    attempt: WebhookAttempt
    response: EndpointResponse
    update: WebhookDeliveryUpdate


class WebhookAttemptRecorder:
    """notify: whether the owners of disabled endpoints get a mail. on_failures_counted: called with
    the consecutive failures of endpoints that failed. unwritten_failures: failures since the last
    success that are not in the database yet.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        health: DependencyHealth,
        probe_s: float,
        notify: bool,
        on_failures_counted: Callable[[Mapping[str, int]], None],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._health = health
        self._probe_s = probe_s
        self._notify = notify
        self._on_failures_counted = on_failures_counted
        self.unwritten_failures: Counter[str] = Counter()
        self._failing: set[str] = set()  # endpoints with failures in the database
        self._queued: list[WebhookAttemptResult] = []
        self._writer: asyncio.Task[None] | None = None

    def add(self, result: WebhookAttemptResult) -> None:
        endpoint_id = result.attempt.endpoint.id
        if result.response.is_success:
            self.unwritten_failures.pop(endpoint_id, None)
        else:
            self.unwritten_failures[endpoint_id] += 1
        self._queued.append(result)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def wait_idle(self, *, within_s: float) -> None:
        """Return when everything is written, or after within_s; the rest is attempted again."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=within_s)

    async def _write(self) -> None:
        try:
            while self._queued:
                await asyncio.sleep(LINGER_S)
                some, self._queued = self._queued[:GROUP_MAX], self._queued[GROUP_MAX:]
                await self._record(some)
                # Even if they could not be written: otherwise failures that no success can clear
                # would block the endpoint.
                self.unwritten_failures -= failures_by_endpoint(some)
        finally:
            self._writer = None

    async def _record(self, some: Sequence[WebhookAttemptResult]) -> None:
        """Record results together, or one by one if that fails. A result that fails alone is lost,
        and its attempt is repeated when its lease expires."""
        try:
            entry = await retry_while_unavailable(partial(self._commit, some), self._health)
        except Exception:
            if len(some) == 1:
                logger.exception("webhook.result.lost", extra={"id": some[0].attempt.id})
                return
            for one in some:
                await self._record([one])
            return
        self._outbox.publish_in_background(entry, self._health)

    async def _commit(self, some: Sequence[WebhookAttemptResult]) -> OutboxEntry:
        async with self._database.transaction() as tx:
            await webhook_deliveries.record_attempts(tx, [one.update for one in some])
            return await self._outbox.add(tx, await self._update_endpoints(tx, some))

    async def _update_endpoints(
        self, tx: Transaction, some: Sequence[WebhookAttemptResult]
    ) -> list[Outgoing]:
        """Update the endpoints of a group of attempts: one success outweighs its failures."""
        succeeded = {one.attempt.endpoint.id for one in some if one.response.is_success}
        failed = failures_by_endpoint(some)
        failed_before = {one.attempt.endpoint.id for one in some if one.attempt.endpoint.failures}
        if recovered := succeeded & (failed_before | self._failing):
            await webhooks.reset_failures(tx, sorted(recovered))
        reasons = {one.attempt.endpoint.id: "gone" for one in some if one.response.status == GONE}
        failing = {one: count for one, count in failed.items() if one not in succeeded}
        counted = (
            await webhooks.count_failures(tx, failing, probe_s=self._probe_s) if failing else []
        )
        for endpoint_id, failures, failing_for in counted:
            if should_disable(failures, failing_for):
                reasons.setdefault(endpoint_id, "failing")
        self._failing = (self._failing - recovered) | failing.keys()
        if counted:
            current = {endpoint_id: failures for endpoint_id, failures, _ in counted}
            tx.after_commit(lambda: self._on_failures_counted(current))
        disabled = [await self._disable(tx, one, reason) for one, reason in reasons.items()]
        return [record for record in disabled if record is not None]

    async def _disable(self, tx: Transaction, endpoint_id: str, reason: str) -> Outgoing | None:
        found = await webhooks.disable(tx, endpoint_id, reason=reason, notify=self._notify)
        if found is None:
            return None
        owner_id, now = found
        logger.warning("webhook.disabled", extra={"endpoint_id": endpoint_id, "reason": reason})
        event = WebhookDisabled(
            endpoint_id=endpoint_id,
            disabled_at_ms=int(now.timestamp() * 1000),
            tenant_id=owner_id,
            reason=reason,
        )
        return encode(event, clock.now())


def failures_by_endpoint(some: Sequence[WebhookAttemptResult]) -> Counter[str]:
    """The number of failures by endpoint."""
    return Counter(one.attempt.endpoint.id for one in some if not one.response.is_success)
