"""Recoveries: what an endpoint has missed, or did not accept, is queued again page by page.

A page is one transaction: a process that dies in it changes nothing, and another one goes on from
the page before.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel import clock
from kernel.database import Database, Transaction
from kernel.failpoint import failpoint
from kernel.ids import lower_bound_at
from services.events.domain.catalog import event_type_of
from services.events.domain.endpoint import WebhookEndpoint, subscribes_to
from services.events.domain.subscription import is_subscribed, passes_filters
from services.events.store import webhook_recoveries
from services.events.store.payloads import load_payloads, log_event_from_row
from services.events.store.webhook_recoveries import (
    LoggedEventRow,
    RecoverableEvent,
    RecoveryProgress,
    RecoveryUpdate,
    first_position,
)

READ_MAX = 500  # events per page
QUEUED_MAX = 50  # of them
RATE_PER_S = 50.0


class WebhookRecovery:
    """The action of a loop; any number of replicas may run it at once. retention_days: of webhook
    deliveries. An older event may have been delivered: nobody knows any more. on_queued: called
    when there are deliveries to claim."""

    def __init__(
        self, database: Database, *, retention_days: int, on_queued: Callable[[], None]
    ) -> None:
        self._database = database
        self._retention = timedelta(days=retention_days)
        self._on_queued = on_queued

    async def run_once(self) -> None:
        while await self._recover_page():
            failpoint("events.webhook.recovered")

    async def _recover_page(self) -> bool:
        """False if no page is due."""
        async with self._database.transaction() as tx:
            found = await webhook_recoveries.claim_due(tx)
            if found is None:
                return False
            recovery, endpoint = found
            page = await self._queue_page(tx, recovery, endpoint)
            await webhook_recoveries.record_page(tx, endpoint.id, page)
            if page.recovered:
                tx.after_commit(self._on_queued)
            failpoint("events.webhook.recovering")
        return True

    async def _queue_page(
        self, tx: Transaction, recovery: RecoveryProgress, endpoint: WebhookEndpoint
    ) -> RecoveryUpdate:
        start = first_position(recovery.since)
        tenant_id = recovery.tenant_id or await webhook_recoveries.next_owner(
            tx, endpoint, after=None
        )
        if tenant_id is None:
            return RecoveryUpdate(None, start, 0, 0.0)
        kept = str(lower_bound_at(clock.now() - self._retention))
        rows = await webhook_recoveries.read_events(
            tx, tenant_id,
            after=max(recovery.position, kept),
            before=str(lower_bound_at(recovery.until + timedelta(milliseconds=1))),
            limit=READ_MAX,
        )  # fmt: skip
        accepts = await self._accepts(tx, endpoint, rows)
        wanted = [
            one
            for row in rows
            if (
                one := queued_event(
                    row, endpoint, types=recovery.event_types, accepted=accepts.get(row.subject_id)
                )
            )
        ]
        known = await webhook_recoveries.received_or_waiting(
            tx, endpoint.id, [one.position for one in wanted]
        )
        missing = [one for one in wanted if one.position not in known]
        some = missing[:QUEUED_MAX]
        queued = await webhook_recoveries.queue(tx, endpoint, some) if some else 0
        delay_s = queued / RATE_PER_S
        if len(missing) > QUEUED_MAX:
            return RecoveryUpdate(tenant_id, some[-1].position, queued, delay_s)
        if len(rows) == READ_MAX:
            return RecoveryUpdate(tenant_id, rows[-1].position, queued, delay_s)
        following = await webhook_recoveries.next_owner(tx, endpoint, after=tenant_id)
        return RecoveryUpdate(following, start, queued, delay_s)

    async def _accepts(
        self, tx: Transaction, endpoint: WebhookEndpoint, rows: Sequence[LoggedEventRow]
    ) -> Mapping[str, MessageAccepted]:
        """By message, as far as the filters of the endpoint need them."""
        if not endpoint.is_filtered:
            return {}
        _, accepts = await load_payloads(tx, [], [row.subject_id for row in rows])
        return accepts


def queued_event(
    row: LoggedEventRow,
    endpoint: WebhookEndpoint,
    *,
    types: Sequence[str],
    accepted: MessageAccepted | None,
) -> RecoverableEvent | None:
    """None if the endpoint does not receive the event, or it is not of these types."""
    log_event = log_event_from_row(row.kind, row.event_id, payload=row.payload)
    name = event_type_of(log_event, is_public=True)
    if not subscribes_to(types, name):
        return None
    if not is_subscribed(endpoint, log_event, name, accepted=accepted):
        return None
    if not passes_filters(endpoint, log_event, accepted):
        return None
    return RecoverableEvent(row.position, row.event_id, row.subject_id, name)
