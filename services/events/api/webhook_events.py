"""The events of a webhook endpoint: what was sent, how it responded, and sending it again."""

from contextlib import AbstractAsyncContextManager
from uuid import UUID

import grpc

from contracts.events.v1.events_service_pb2 import (
    GetWebhookEventRequest,
    GetWebhookEventResponse,
    ListWebhookEventsRequest,
    ListWebhookEventsResponse,
    ReplayWebhookEventRequest,
    ReplayWebhookEventResponse,
    WebhookAttempt,
    WebhookEvent,
)
from kernel.database import Database, Row, Transaction
from kernel.ids import creation_time_of
from kernel.rpc import Context, RequestError, map_errors
from services.events.api.requests import not_found, page_limit, parse_cursor, parse_resource_id
from services.events.api.webhooks import (
    ACCOUNT_WIDE,
    DISABLED,
    ENABLED,
    OWNER_ID,
    WebhookDependencies,
    load_webhook,
    to_timestamp,
)
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.webhook_attempt import public_event_id, webhook_attempt_of
from services.events.domain.webhook_attempt_record import decode_attempt
from services.events.store import payloads, webhook_deliveries
from services.events.store.webhook_deliveries import DELIVERED, QUEUED, WebhookDeliveryRow

NOT_KEPT = "the event is no longer kept"


class WebhookEventRpcs:
    tenant_database: Database
    webhooks: WebhookDependencies

    @map_errors
    async def ListWebhookEvents(  # noqa: N802
        self, request: ListWebhookEventsRequest, _: Context
    ) -> ListWebhookEventsResponse:
        """Newest first."""
        size, row = page_limit(request), await load_webhook(self.tenant_database, request)
        async with self.tenant_database.transaction(tenant_id=row[OWNER_ID]) as tx:
            rows = await webhook_deliveries.list_deliveries(
                tx, row[0], after=parse_cursor(request.after, "after"), limit=size + 1
            )
        return ListWebhookEventsResponse(
            events=[to_proto(one, enabled=row[ENABLED]) for one in rows[:size]],
            has_more=len(rows) > size,
        )

    @map_errors
    async def GetWebhookEvent(  # noqa: N802
        self, request: GetWebhookEventRequest, _: Context
    ) -> GetWebhookEventResponse:
        row = await load_webhook(self.tenant_database, request)
        position = parse_position(request.event_id)
        async with self._reading(row) as tx:
            delivery = await load_delivery(tx, row, position=position)
            payload = await load_payload(tx, row, delivery)
        attempts = [attempt_to_proto(one) for one in reversed(delivery.attempts)]
        event = to_proto(delivery, enabled=row[ENABLED])
        return GetWebhookEventResponse(event=event, payload=payload, attempts=attempts)

    @map_errors
    async def ReplayWebhookEvent(  # noqa: N802
        self, request: ReplayWebhookEventRequest, _: Context
    ) -> ReplayWebhookEventResponse:
        """Send an event once more, with the same id. One that waits is sent now; one that is being
        sent is not sent twice."""
        row = await load_webhook(self.tenant_database, request)
        position = parse_position(request.event_id)
        async with self._reading(row) as tx:
            delivery = await load_delivery(tx, row, position=position)
            if not row[ENABLED]:
                raise RequestError(DISABLED, grpc.StatusCode.FAILED_PRECONDITION)
            if not await load_payload(tx, row, delivery):
                raise RequestError(NOT_KEPT, grpc.StatusCode.FAILED_PRECONDITION)
            await webhook_deliveries.requeue(tx, row[0], position=position)
            tx.after_commit(self.webhooks.on_delivery_added)
        return ReplayWebhookEventResponse(event_id=public_event_id(position))

    def _reading(self, row: Row) -> AbstractAsyncContextManager[Transaction]:
        """A transaction of the webhook's owner. That of an account sees the events of its
        tenants."""
        account_id = row[OWNER_ID] if row[ACCOUNT_WIDE] else None
        return self.tenant_database.transaction(tenant_id=row[OWNER_ID], account_id=account_id)


def parse_position(event_id: str) -> str:
    """Raises RequestError."""
    return parse_resource_id(event_id.removeprefix("evt_"), "event")


async def load_delivery(tx: Transaction, row: Row, *, position: str) -> WebhookDeliveryRow:
    """Raises RequestError."""
    found = await webhook_deliveries.load_delivery(tx, row[0], position=position)
    if found is None:
        raise not_found("event")
    return found


async def load_payload(tx: Transaction, row: Row, delivery: WebhookDeliveryRow) -> bytes:
    """The body of the request, as it is sent; empty if the log no longer has the event."""
    entries, accepts = await payloads.load_payloads(tx, [delivery.event_id], [delivery.subject_id])
    if (entry := entries.get(delivery.event_id)) is None:
        return b""
    endpoint = WebhookEndpoint(row[0], row[OWNER_ID], row[1], b"", account_wide=row[ACCOUNT_WIDE])
    return webhook_attempt_of(
        entry, accepts.get(delivery.subject_id), endpoint=endpoint, token="",
        position=delivery.position,
    ).body  # fmt: skip


def to_proto(row: WebhookDeliveryRow, *, enabled: bool) -> WebhookEvent:
    status = status_of(row)
    waits = status == "pending" and enabled
    return WebhookEvent(
        id=public_event_id(row.position),
        type=row.type,
        created_at=to_timestamp(creation_time_of(UUID(row.position))),
        status=status,
        attempt_count=row.attempt_count,
        http_status=row.status,
        error=row.error,
        next_attempt_at=to_timestamp(row.due_at) if waits else None,
    )


def status_of(row: WebhookDeliveryRow) -> str:
    """Resend's words."""
    if row.state != QUEUED:
        return "success" if row.state == DELIVERED else "failed"
    return "attempting" if row.is_claimed else "pending"


def attempt_to_proto(text: str) -> WebhookAttempt:
    attempt = decode_attempt(text)
    return WebhookAttempt(
        id=attempt.id,
        sent_at=to_timestamp(creation_time_of(UUID(attempt.id))),
        http_status=attempt.status,
        response=attempt.response,
        error=attempt.error,
        duration_ms=attempt.duration_ms,
    )
