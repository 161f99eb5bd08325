"""Recoveries of webhook endpoints: start one, and show how far it is."""

from datetime import timedelta

import grpc

from contracts.events.v1.events_service_pb2 import (
    GetWebhookRecoveryRequest,
    GetWebhookRecoveryResponse,
    RecoverWebhookRequest,
    RecoverWebhookResponse,
    WebhookRecovery,
)
from kernel import clock
from kernel.database import Database
from kernel.rpc import Context, RequestError, map_errors
from services.events.api.requests import not_found, time_of
from services.events.api.webhooks import (
    DISABLED,
    ENABLED,
    OWNER_ID,
    check_event_types,
    load_webhook,
    to_timestamp,
)
from services.events.store import webhook_recoveries
from services.events.store.webhook_recoveries import RecoveryProgress

# A batch that was read before the webhook was enabled again is committed by then.
SETTLE = timedelta(seconds=5)


class WebhookRecoveryRpcs:
    tenant_database: Database

    @map_errors
    async def RecoverWebhook(  # noqa: N802
        self, request: RecoverWebhookRequest, _: Context
    ) -> RecoverWebhookResponse:
        """Send events again that the webhook has missed while it was disabled or before it existed,
        and those whose attempts have failed. One recovery of a webhook at a time."""
        row = await load_webhook(self.tenant_database, request)
        check_event_types(request.types, "types")
        now = clock.now()
        since, until = time_of(request, "since"), time_of(request, "until") or now
        if since is None or since >= until:
            raise RequestError("since must be before until, and before now", field="since")
        if until > now:
            raise RequestError("until is in the future", field="until")
        if not row[ENABLED]:
            raise RequestError(DISABLED, grpc.StatusCode.FAILED_PRECONDITION)
        async with self.tenant_database.transaction(tenant_id=row[OWNER_ID]) as tx:
            started = await webhook_recoveries.start(
                tx, row[0], owner_id=row[OWNER_ID], since=since, until=until,
                event_types=list(dict.fromkeys(request.types)), due_at=until + SETTLE,
            )  # fmt: skip
        if started is None:
            detail = "a recovery of the webhook is in progress"
            raise RequestError(detail, grpc.StatusCode.FAILED_PRECONDITION)
        return RecoverWebhookResponse(recovery=to_proto(started))

    @map_errors
    async def GetWebhookRecovery(  # noqa: N802
        self, request: GetWebhookRecoveryRequest, _: Context
    ) -> GetWebhookRecoveryResponse:
        """The latest one."""
        row = await load_webhook(self.tenant_database, request)
        async with self.tenant_database.transaction(tenant_id=row[OWNER_ID]) as tx:
            found = await webhook_recoveries.load(tx, row[0])
        if found is None:
            raise not_found("recovery of the webhook")
        return GetWebhookRecoveryResponse(recovery=to_proto(found))


def to_proto(recovery: RecoveryProgress) -> WebhookRecovery:
    finished_at = recovery.finished_at
    return WebhookRecovery(
        since=to_timestamp(recovery.since),
        until=to_timestamp(recovery.until),
        types=recovery.event_types,
        recovered=recovery.recovered,
        created_at=to_timestamp(recovery.created_at),
        finished_at=to_timestamp(finished_at) if finished_at else None,
    )
