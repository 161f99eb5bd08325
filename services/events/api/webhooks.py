"""Webhook endpoints: create, list, show, delete, test, and how their calls went."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.events.v1.events_service_pb2 import (
    CreateWebhookRequest,
    CreateWebhookResponse,
    DeleteWebhookRequest,
    DeleteWebhookResponse,
    GetWebhookRequest,
    GetWebhookResponse,
    ListWebhookDeliveriesRequest,
    ListWebhookDeliveriesResponse,
    ListWebhooksRequest,
    ListWebhooksResponse,
    TestWebhookRequest,
    TestWebhookResponse,
    Webhook,
    WebhookDelivery,
)
from kernel.crypto import Secrets
from kernel.database import Database, Row
from kernel.ids import uuid7_text
from kernel.rpc import Context, Wrong, answering
from mail.reachable import Network
from services.events.api.asking import cursor, identifier, limit, not_found, tenant
from services.events.domain.calls import public_id
from services.events.domain.catalogue import EVENT_TYPES
from services.events.domain.endpoint import Endpoint, problem_of
from services.events.domain.facts import Kind, of_endpoint
from services.events.domain.signature import SECRET_BYTES, secret_text
from services.events.domain.state import Entry
from services.events.store import log, tasks, webhooks

ENDPOINTS_MAX = 50
STATES = {tasks.WAITING: "waiting", tasks.DELIVERED: "delivered", tasks.FAILED: "failed"}


@dataclass(frozen=True, slots=True)
class Webhooks:
    """allowed: private networks that may be called; added: told when there is a task to claim."""

    secrets: Secrets
    allowed: tuple[Network, ...]
    added: Callable[[], None]


class WebhooksApi:
    api: Database
    webhooks: Webhooks

    @answering
    async def CreateWebhook(  # noqa: N802
        self, request: CreateWebhookRequest, _: Context
    ) -> CreateWebhookResponse:
        """The only answer, beside GetWebhook, with the secret."""
        tenant_id = tenant(request)
        if problem := problem_of(request.url, self.webhooks.allowed):
            raise Wrong(problem)
        if unknown := sorted(set(request.event_types) - EVENT_TYPES):
            raise Wrong(f"events: {unknown[0]!r} is not a type of event")
        secret = os.urandom(SECRET_BYTES)
        endpoint = Endpoint(
            uuid7_text(),
            tenant_id,
            request.url,
            self.webhooks.secrets.encrypt(secret),
            list(dict.fromkeys(request.event_types)),
            test=request.test,
        )
        async with self.api.transaction(tenant_id=tenant_id) as tx:
            row = await webhooks.insert(tx, endpoint, limit=ENDPOINTS_MAX)
        if row is None:
            raise Wrong(f"a tenant may have {ENDPOINTS_MAX} webhooks: delete one first")
        return CreateWebhookResponse(webhook=shown(row, secret=secret_text(secret)))

    @answering
    async def ListWebhooks(  # noqa: N802
        self, request: ListWebhooksRequest, _: Context
    ) -> ListWebhooksResponse:
        tenant_id, size = tenant(request), limit(request)
        after, before = cursor(request.after, "after"), cursor(request.before, "before")
        async with self.api.transaction(tenant_id=tenant_id) as tx:
            rows = await webhooks.page(
                tx, tenant_id, after=after, before=before, limit=size + 1,
                test_only=request.test_only,
            )  # fmt: skip
        page = rows[-size:] if before else rows[:size]
        return ListWebhooksResponse(
            webhooks=[shown(row) for row in page], has_more=len(rows) > size
        )

    @answering
    async def GetWebhook(self, request: GetWebhookRequest, _: Context) -> GetWebhookResponse:  # noqa: N802
        row = await self._one(request)
        secret = secret_text(self.webhooks.secrets.decrypt(row[-1]))
        return GetWebhookResponse(webhook=shown(row[:-1], secret=secret))

    @answering
    async def DeleteWebhook(  # noqa: N802
        self, request: DeleteWebhookRequest, _: Context
    ) -> DeleteWebhookResponse:
        endpoint_id = (await self._one(request))[0]
        tenant_id = tenant(request)
        async with self.api.transaction(tenant_id=tenant_id) as tx:
            if not await webhooks.remove(tx, tenant_id, endpoint_id=endpoint_id):
                raise not_found("webhook")
        return DeleteWebhookResponse(id=endpoint_id)

    @answering
    async def TestWebhook(self, request: TestWebhookRequest, _: Context) -> TestWebhookResponse:  # noqa: N802
        """Send a webhook.test, whatever the endpoint's filter says."""
        tenant_id, endpoint_id = tenant(request), identifier(request.id, "webhook")
        row = await self._one(request)
        if not row[3]:
            raise Wrong("the webhook is disabled", grpc.StatusCode.FAILED_PRECONDITION)
        event = WebhookDisabled(endpoint_id=endpoint_id, tenant_id=tenant_id, reason="test")
        fact, position = of_endpoint(event, Kind.WEBHOOK_TEST, str(uuid4())), uuid7_text()
        async with self.api.transaction(tenant_id=tenant_id) as tx:
            task = tasks.NewTask(
                endpoint_id, position, fact.event_id, endpoint_id, tenant_id, "webhook.test", None
            )
            places = {fact.event_id: position}
            await log.write(tx, log.Writing([Entry(fact, 1, 1)], places, tasks=[task]))
            tx.after_commit(self.webhooks.added)
        return TestWebhookResponse(event_id=public_id(position))

    @answering
    async def ListWebhookDeliveries(  # noqa: N802
        self, request: ListWebhookDeliveriesRequest, _: Context
    ) -> ListWebhookDeliveriesResponse:
        """Newest first."""
        tenant_id, size = tenant(request), limit(request)
        row = await self._one(request)
        async with self.api.transaction(tenant_id=tenant_id) as tx:
            rows = await tasks.page(
                tx, row[0], after=cursor(request.after, "after"), limit=size + 1
            )
        return ListWebhookDeliveriesResponse(
            deliveries=[delivery(one) for one in rows[:size]], has_more=len(rows) > size
        )

    async def _one(self, request: Any) -> Row:  # noqa: ANN401 - any that names one
        tenant_id, endpoint_id = tenant(request), identifier(request.id, "webhook")
        async with self.api.transaction(tenant_id=tenant_id) as tx:
            row = await webhooks.get(
                tx, tenant_id, endpoint_id=endpoint_id, test_only=request.test_only
            )
        if row is None:
            raise not_found("webhook")
        return row


def shown(row: Row, *, secret: str = "") -> Webhook:
    endpoint_id, url, event_types, enabled, reason, created_at = row
    return Webhook(
        id=endpoint_id,
        url=url,
        event_types=event_types,
        enabled=enabled,
        disabled_reason=reason,
        created_at=stamp(created_at),
        signing_secret=secret,
    )


def delivery(row: Row) -> WebhookDelivery:
    position, name, tries, state, status, error, due_at = row
    return WebhookDelivery(
        event_id=public_id(position),
        type=name,
        tries=tries,
        state=STATES[state],
        status=status,
        error=error,
        due_at=stamp(due_at) if state == tasks.WAITING else None,
    )


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made
