"""Webhook endpoints: create, list, show, delete, test."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
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
    ListWebhooksRequest,
    ListWebhooksResponse,
    TestWebhookRequest,
    TestWebhookResponse,
    UpdateWebhookRequest,
    UpdateWebhookResponse,
    Webhook,
)
from kernel import tenant_accounts
from kernel.crypto import SecretKeyring
from kernel.database import Database, Row
from kernel.ids import uuid7_text
from kernel.rpc import Context, RequestError, map_errors
from mail.reachable import Network
from services.events.api.requests import (
    not_found,
    owner_of,
    page_limit,
    parse_cursor,
    parse_resource_id,
)
from services.events.domain.catalog import EVENT_TYPES
from services.events.domain.endpoint import WebhookEndpoint, endpoint_problem
from services.events.domain.log_event import EventKind, endpoint_log_event
from services.events.domain.request_headers import (
    decode_headers,
    encode_headers,
    headers_problem,
)
from services.events.domain.signature import SECRET_BYTES, secret_text
from services.events.domain.state import LogEntry
from services.events.domain.webhook_attempt import public_event_id
from services.events.store import log, webhook_deliveries, webhooks
from services.events.store.webhooks import EndpointChanges

ENDPOINTS_MAX = 50
ENABLED, OWNER_ID, ACCOUNT_WIDE = 3, 6, 7  # columns of a row
STREAMS = {"transactional", "broadcast"}
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
DISABLED = "the webhook is disabled"


@dataclass(frozen=True, slots=True)
class WebhookDependencies:
    """allowed: private networks that may be called; on_delivery_added: called when there is a
    delivery to claim."""

    secrets: SecretKeyring
    allowed: tuple[Network, ...]
    on_delivery_added: Callable[[], None]


class WebhookRpcs:
    tenant_database: Database
    webhooks: WebhookDependencies

    @map_errors
    async def CreateWebhook(  # noqa: N802
        self, request: CreateWebhookRequest, _: Context
    ) -> CreateWebhookResponse:
        """Create an endpoint. Only this response and that of GetWebhook contain the secret."""
        tenant_id, account_id = owner_of(request)
        self._check(request.url, request.event_types)
        check_streams(request.streams)
        owner_id = tenant_id or account_id or ""
        secret = os.urandom(SECRET_BYTES)
        endpoint = WebhookEndpoint(
            uuid7_text(),
            owner_id,
            request.url,
            self.webhooks.secrets.encrypt(secret),
            distinct(request.event_types),
            test=request.test,
            account_wide=tenant_id is None,
            tenant_ids=distinct(request.tenant_ids),
            domain_ids=distinct(request.domain_ids),
            tags=distinct(request.tags),
            streams=distinct(request.streams),
            svix_headers=request.svix_headers,
            headers=self._encrypted(request.headers) or None,
        )
        self._check_tenants(endpoint.tenant_ids, account_wide=endpoint.account_wide)
        async with self.tenant_database.transaction(tenant_id=owner_id) as tx:
            if tenant_id:
                accounts = [(tenant_id, request.account_id)]
                await tenant_accounts.record_accounts(tx, "events", accounts)
            row = await webhooks.insert(tx, endpoint, limit=ENDPOINTS_MAX)
        if row is None:
            whose = "tenant" if tenant_id else "account"
            detail = f"the {whose} has the maximum of {ENDPOINTS_MAX} webhooks. Delete one first."
            raise RequestError(detail, grpc.StatusCode.FAILED_PRECONDITION)
        return CreateWebhookResponse(
            webhook=to_proto(row, secret=secret_text(secret), headers=request.headers)
        )

    @map_errors
    async def ListWebhooks(  # noqa: N802
        self, request: ListWebhooksRequest, _: Context
    ) -> ListWebhooksResponse:
        owner, size = owner_of(request)._asdict(), page_limit(request)
        after, before = parse_cursor(request.after, "after"), parse_cursor(request.before, "before")
        async with self.tenant_database.transaction(**owner) as tx:
            rows = await webhooks.list_endpoints(
                tx, **owner, after=after, before=before, limit=size + 1,
                test_only=request.test_only,
            )  # fmt: skip
        page = rows[-size:] if before else rows[:size]
        return ListWebhooksResponse(
            webhooks=[to_proto(row) for row in page], has_more=len(rows) > size
        )

    @map_errors
    async def GetWebhook(self, request: GetWebhookRequest, _: Context) -> GetWebhookResponse:  # noqa: N802
        row = await load_webhook(self.tenant_database, request)
        *shown, secret, headers = row
        decrypt = self.webhooks.secrets.decrypt
        return GetWebhookResponse(
            webhook=to_proto(
                tuple(shown), secret=secret_text(decrypt(secret)),
                headers=decode_headers(decrypt(headers)) if headers else {},
            )
        )  # fmt: skip

    @map_errors
    async def UpdateWebhook(  # noqa: N802
        self, request: UpdateWebhookRequest, _: Context
    ) -> UpdateWebhookResponse:
        """What waits for the endpoint is sent at once, if it is enabled."""
        row = await load_webhook(self.tenant_database, request)
        changes = self._changes_of(request)
        self._check(changes.url, changes.event_types or ())
        check_streams(changes.streams or ())
        self._check_tenants(changes.tenant_ids or (), account_wide=row[ACCOUNT_WIDE])
        async with self.tenant_database.transaction(tenant_id=row[OWNER_ID]) as tx:
            changed = await webhooks.update(tx, row[0], changes)
            tx.after_commit(self.webhooks.on_delivery_added)
        if changed is None:
            raise not_found("webhook")
        return UpdateWebhookResponse(webhook=to_proto(changed))

    @map_errors
    async def DeleteWebhook(  # noqa: N802
        self, request: DeleteWebhookRequest, _: Context
    ) -> DeleteWebhookResponse:
        row = await load_webhook(self.tenant_database, request)
        endpoint_id, owner_id = row[0], row[OWNER_ID]
        async with self.tenant_database.transaction(tenant_id=owner_id) as tx:
            if not await webhooks.remove(tx, owner_id, endpoint_id=endpoint_id):
                raise not_found("webhook")
        return DeleteWebhookResponse(id=endpoint_id)

    @map_errors
    async def TestWebhook(self, request: TestWebhookRequest, _: Context) -> TestWebhookResponse:  # noqa: N802
        """Send a webhook.test event, regardless of the endpoint's filter."""
        row = await load_webhook(self.tenant_database, request)
        endpoint_id, owner_id = row[0], row[OWNER_ID]
        if not row[ENABLED]:
            raise RequestError(DISABLED, grpc.StatusCode.FAILED_PRECONDITION)
        event = WebhookDisabled(endpoint_id=endpoint_id, tenant_id=owner_id, reason="test")
        log_event, position = (
            endpoint_log_event(event, EventKind.WEBHOOK_TEST, str(uuid4())),
            uuid7_text(),
        )
        async with self.tenant_database.transaction(tenant_id=owner_id) as tx:
            delivery = webhook_deliveries.NewWebhookDelivery(
                endpoint_id,
                position,
                log_event.event_id,
                endpoint_id,
                owner_id,
                "webhook.test",
                None,
            )
            positions = {log_event.event_id: position}
            await log.write_batch(
                tx, log.LogWrite([LogEntry(log_event, 1, 1)], positions, deliveries=[delivery])
            )
            tx.after_commit(self.webhooks.on_delivery_added)
        return TestWebhookResponse(event_id=public_event_id(position))

    def _check(self, url: str | None, event_types: Collection[str]) -> None:
        """Raises RequestError."""
        if url is not None and (problem := endpoint_problem(url, self.webhooks.allowed)):
            raise RequestError(problem, field="endpoint")
        check_event_types(event_types, "events")

    def _changes_of(self, request: UpdateWebhookRequest) -> EndpointChanges:
        """Raises RequestError."""

        def given(name: str, values: Iterable[str]) -> list[str] | None:
            return distinct(values) if request.HasField(name) else None  # type: ignore[arg-type]

        return EndpointChanges(
            url=request.url if request.HasField("url") else None,
            event_types=given("event_types", request.event_types.names),
            enabled=request.enabled if request.HasField("enabled") else None,
            tenant_ids=given("tenant_ids", request.tenant_ids.ids),
            domain_ids=given("domain_ids", request.domain_ids.ids),
            tags=given("tags", request.tags.names),
            streams=given("streams", request.streams.names),
            svix_headers=request.svix_headers if request.HasField("svix_headers") else None,
            headers=self._encrypted(request.headers.fields)
            if request.HasField("headers")
            else None,
        )

    def _encrypted(self, headers: Mapping[str, str]) -> bytes:
        """Empty if there are none. Raises RequestError."""
        if problem := headers_problem(headers):
            raise RequestError(f"headers: {problem}", field="headers")
        return self.webhooks.secrets.encrypt(encode_headers(dict(headers))) if headers else b""

    def _check_tenants(self, tenant_ids: Sequence[str], *, account_wide: bool) -> None:
        """Raises RequestError."""
        if tenant_ids and not account_wide:
            detail = "only a webhook of an account has tenant_ids. This one belongs to a tenant."
            raise RequestError(detail, field="tenant_ids")


async def load_webhook(database: Database, request: Any) -> Row:  # noqa: ANN401 - any with an id
    """The public columns of the webhook and its encrypted secret. Raises RequestError."""
    owner, endpoint_id = owner_of(request), parse_resource_id(request.id, "webhook")
    async with database.transaction(**owner._asdict()) as tx:
        row = await webhooks.load_endpoint(
            tx, owner.tenant_id, endpoint_id=endpoint_id, test_only=request.test_only
        )
    if row is None:
        raise not_found("webhook")
    return row


def check_event_types(names: Iterable[str], field: str) -> None:
    """Raises RequestError."""
    if unknown := sorted({*names} - EVENT_TYPES):
        raise RequestError(f"{field}: {unknown[0]!r} is not an event type", field=field)


def check_streams(names: Iterable[str]) -> None:
    """Raises RequestError."""
    if unknown := sorted({*names} - STREAMS):
        raise RequestError(f"streams: {unknown[0]!r} is not a stream", field="streams")


def distinct(values: Iterable[str]) -> list[str]:
    """In their order."""
    return list(dict.fromkeys(values))


def to_proto(
    row: Sequence[Any], *, secret: str = "", headers: Mapping[str, str] = NO_HEADERS
) -> Webhook:
    """row: the public columns."""
    endpoint_id, url, event_types, enabled, reason, created_at, owner_id, wide, *others = row
    tenant_ids, previous_until, domain_ids, tags, streams, svix_headers = others
    return Webhook(
        id=endpoint_id,
        tenant_id="" if wide else owner_id,
        tenant_ids=tenant_ids,
        url=url,
        event_types=event_types,
        enabled=enabled,
        disabled_reason=reason,
        created_at=to_timestamp(created_at),
        signing_secret=secret,
        headers=headers,
        domain_ids=domain_ids,
        tags=tags,
        streams=streams,
        svix_headers=svix_headers,
        previous_secret_expires_at=to_timestamp(previous_until) if previous_until else None,
    )


def to_timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
