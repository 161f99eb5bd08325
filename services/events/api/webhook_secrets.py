"""Signing secrets of webhook endpoints: replace one, and end the time in which both sign."""

import os

from contracts.events.v1.events_service_pb2 import (
    RevokePreviousWebhookSecretRequest,
    RevokePreviousWebhookSecretResponse,
    RotateWebhookSecretRequest,
    RotateWebhookSecretResponse,
)
from kernel.database import Database
from kernel.rpc import Context, map_errors
from services.events.api.requests import not_found
from services.events.api.webhooks import OWNER_ID, WebhookDependencies, load_webhook, to_proto
from services.events.domain.signature import SECRET_BYTES, secret_text
from services.events.store import webhooks


class WebhookSecretRpcs:
    tenant_database: Database
    webhooks: WebhookDependencies

    @map_errors
    async def RotateWebhookSecret(  # noqa: N802
        self, request: RotateWebhookSecretRequest, _: Context
    ) -> RotateWebhookSecretResponse:
        """Attempts that are queued in a process are signed by the secrets of when they were
        queued."""
        row = await load_webhook(self.tenant_database, request)
        secret = os.urandom(SECRET_BYTES)
        async with self.tenant_database.transaction(tenant_id=row[OWNER_ID]) as tx:
            rotated = await webhooks.rotate_secret(
                tx, row[0], secret=self.webhooks.secrets.encrypt(secret), grace_s=request.grace_s,
                force=request.force,
            )  # fmt: skip
        if rotated is None:
            return RotateWebhookSecretResponse()
        return RotateWebhookSecretResponse(webhook=to_proto(rotated, secret=secret_text(secret)))

    @map_errors
    async def RevokePreviousWebhookSecret(  # noqa: N802
        self, request: RevokePreviousWebhookSecretRequest, _: Context
    ) -> RevokePreviousWebhookSecretResponse:
        row = await load_webhook(self.tenant_database, request)
        async with self.tenant_database.transaction(tenant_id=row[OWNER_ID]) as tx:
            changed = await webhooks.revoke_previous_secret(tx, row[0])
        if changed is None:
            raise not_found("webhook")
        return RevokePreviousWebhookSecretResponse(webhook=to_proto(changed))
