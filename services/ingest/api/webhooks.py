"""Webhook endpoints, for REST and gRPC. The events service owns them."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from contracts.events.v1 import events_service_pb2 as pb
from contracts.events.v1.events_service_pb2 import (
    DeleteWebhookRequest,
    GetWebhookRequest,
    ListWebhooksRequest,
    RevokePreviousWebhookSecretRequest,
    TestWebhookRequest,
    Webhook,
)
from kernel.ids import NIL, canonical_uuid
from services.ingest.api.administration.api_keys import DAY_S, GRACE_MAX_S
from services.ingest.api.administration.directory import DirectoryResource, conflict, parse_id
from services.ingest.api.callers import Caller
from services.ingest.api.response_schemas import EventType
from services.ingest.api.rest_base import format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import Fault, invalid
from services.ingest.store.directory_lists import PageBounds

Endpoint = Annotated[str, Meta(min_length=1, max_length=2000)]
EventTypes = Annotated[list[EventType], Meta(max_length=100)]
Ids = Annotated[list[str], Meta(max_length=100)]
Tag = Annotated[str, Meta(min_length=1, max_length=513, pattern=LINE)]  # name:value
Tags = Annotated[list[Tag], Meta(max_length=100)]
Streams = Annotated[list[Literal["transactional", "broadcast"]], Meta(max_length=2)]
Headers = Annotated[dict[str, str], Meta(max_length=10)]


class CreateWebhookRequest(RequestModel):
    """endpoint: https URL. events: event types. tenant_ids: of a webhook of an account, the tenants
    whose events it receives. domain_ids, tags, streams: only events of mail from these domains,
    with one of these tags (name, or name:value), in one of these streams. An empty or absent filter
    means all. svix_headers: requests have the signature under Svix's names too. headers: of
    requests. An endpoint created with a test key receives events of test mail only."""

    endpoint: Endpoint
    events: EventTypes = msgspec.field(default_factory=list)
    tenant_ids: Ids = msgspec.field(default_factory=list)
    domain_ids: Ids = msgspec.field(default_factory=list)
    tags: Tags = msgspec.field(default_factory=list)
    streams: Streams = msgspec.field(default_factory=list)
    svix_headers: bool = False
    headers: Headers = msgspec.field(default_factory=dict)


class UpdateWebhookRequest(RequestModel):
    """What is absent does not change. Events that wait for a disabled webhook are sent once it is
    enabled. webhook_id: Resend's clients repeat it."""

    webhook_id: str = ""
    endpoint: Endpoint | UnsetType = UNSET
    events: EventTypes | UnsetType = UNSET
    tenant_ids: Ids | UnsetType = UNSET
    domain_ids: Ids | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    streams: Streams | UnsetType = UNSET
    svix_headers: bool | UnsetType = UNSET
    headers: Headers | UnsetType = UNSET
    status: Literal["enabled", "disabled"] | UnsetType = UNSET


class RotateWebhookSecretRequest(RequestModel):
    """grace_s: seconds that the old secret still signs, beside the new one. force: also while an
    earlier rotation is in progress; the secret before the current one then signs no more."""

    grace_s: Annotated[int, Meta(ge=0, le=GRACE_MAX_S)] = DAY_S
    force: bool = False


class WebhookResource:
    """Those of a tenant, and those of an account, which receive the events of all its tenants. A
    test key has no access to live webhooks."""

    def __init__(self, clients: ServiceClients, directory: DirectoryResource) -> None:
        self._events = clients.events
        self._directory = directory

    async def create(self, caller: Caller, given: CreateWebhookRequest) -> Webhook:
        """It belongs to the caller's tenant, or to the account of a key that names none."""
        account_id = caller.tenant.account_id if caller.tenant else caller.account_id
        request = pb.CreateWebhookRequest(
            tenant_id=caller.tenant_id, account_id=account_id, test=caller.test,
            url=given.endpoint, event_types=given.events,
            tenant_ids=await self._own_tenants(caller, given.tenant_ids),
            domain_ids=await self._own_domains(caller, given.domain_ids),
            tags=given.tags, streams=given.streams, svix_headers=given.svix_headers,
            headers=given.headers,
        )  # fmt: skip
        stub = self._events.stub
        return (await self._events.call(stub.CreateWebhook, request, deadline_s=2.0)).webhook

    async def page(self, caller: Caller, page: PageBounds) -> tuple[Sequence[Webhook], bool]:
        """Newest first, without the signing secrets; those of a tenant, or of an account and all
        its tenants."""
        request = ListWebhooksRequest(
            **caller.owner._asdict(), test_only=caller.test, **page._asdict()
        )
        response = await self._events.call(self._events.stub.ListWebhooks, request)
        return response.webhooks, response.has_more

    async def get(self, caller: Caller, webhook_id: str) -> Webhook:
        request = GetWebhookRequest(**selector_of(caller, webhook_id))
        return (await self._events.call(self._events.stub.GetWebhook, request)).webhook

    async def update(self, caller: Caller, webhook_id: str, given: UpdateWebhookRequest) -> Webhook:
        tenants, domains = None, None
        if given.tenant_ids is not UNSET:
            tenants = pb.TenantIds(ids=await self._own_tenants(caller, given.tenant_ids))
        if given.domain_ids is not UNSET:
            domains = pb.DomainIds(ids=await self._own_domains(caller, given.domain_ids))
        request = pb.UpdateWebhookRequest(
            **selector_of(caller, webhook_id),
            url=given.endpoint or None,
            event_types=None if given.events is UNSET else pb.EventTypes(names=given.events),
            tenant_ids=tenants,
            domain_ids=domains,
            tags=None if given.tags is UNSET else pb.Tags(names=given.tags),
            streams=None if given.streams is UNSET else pb.Streams(names=given.streams),
            svix_headers=None if given.svix_headers is UNSET else given.svix_headers,
            headers=None if given.headers is UNSET else pb.WebhookHeaders(fields=given.headers),
            enabled=None if given.status is UNSET else given.status == "enabled",
        )
        stub = self._events.stub
        return (await self._events.call(stub.UpdateWebhook, request, deadline_s=2.0)).webhook

    async def rotate_secret(
        self, caller: Caller, webhook_id: str, given: RotateWebhookSecretRequest
    ) -> Webhook:
        """With the new secret. Raises Problem 409 `rotation_in_progress` while the secret before
        the current one still signs, unless it is forced."""
        request = pb.RotateWebhookSecretRequest(
            **selector_of(caller, webhook_id), grace_s=given.grace_s, force=given.force
        )
        stub = self._events.stub
        response = await self._events.call(stub.RotateWebhookSecret, request, deadline_s=2.0)
        if not response.HasField("webhook"):
            detail = "A rotation is in progress: revoke the previous secret, or use force."
            raise conflict("rotation_in_progress", detail)
        return response.webhook

    async def revoke_previous_secret(self, caller: Caller, webhook_id: str) -> Webhook:
        request = RevokePreviousWebhookSecretRequest(**selector_of(caller, webhook_id))
        stub = self._events.stub
        call = self._events.call(stub.RevokePreviousWebhookSecret, request, deadline_s=2.0)
        return (await call).webhook

    async def delete(self, caller: Caller, webhook_id: str) -> str:
        request = DeleteWebhookRequest(**selector_of(caller, webhook_id))
        stub = self._events.stub
        return (await self._events.call(stub.DeleteWebhook, request, deadline_s=2.0)).id

    async def test(self, caller: Caller, webhook_id: str) -> str:
        """Send webhook.test; returns the id of the event."""
        request = TestWebhookRequest(**selector_of(caller, webhook_id))
        stub = self._events.stub
        return (await self._events.call(stub.TestWebhook, request, deadline_s=2.0)).event_id

    async def _own_tenants(self, caller: Caller, tenant_ids: Sequence[str]) -> list[str]:
        """In their canonical form. Raises Problem 422 for those that the caller does not see."""
        ids = [canonical_or_nil(one) for one in tenant_ids]
        found = await self._directory.tenants_among(caller.owner, ids) if ids else set()
        detail = "There is no such tenant. Use the id of a tenant of this account."
        return check_all_found(ids, found, name="tenant_ids", detail=detail)

    async def _own_domains(self, caller: Caller, domain_ids: Sequence[str]) -> list[str]:
        """Likewise; those of a tenant are all that it can send from."""
        ids = [canonical_or_nil(one) for one in domain_ids]
        found: set[str] = set()
        if ids and caller.tenant:
            tenant = caller.tenant
            found = await self._directory.domain_ids(tenant.tenant_id, tenant.account_id)
        elif ids:
            found = {*await self._directory.domain_names(caller.owner, ids)}
        detail = "There is no such domain. Use the id of a domain that the mail is sent from."
        return check_all_found(ids, found, name="domain_ids", detail=detail)


def check_all_found(ids: list[str], found: Collection[str], *, name: str, detail: str) -> list[str]:
    """The ids, if all were found. name: of the field. Raises Problem 422."""
    faults = [
        Fault(f"#/{name}/{index}", "invalid", detail)
        for index, one in enumerate(ids)
        if one not in found
    ]
    if faults:
        raise invalid(faults)
    return ids


def canonical_or_nil(text: str) -> str:
    """An id; that of nothing for other texts."""
    try:
        return canonical_uuid(text)
    except ValueError:
        return str(NIL)


def selector_of(caller: Caller, webhook_id: str) -> dict[str, Any]:
    """The fields of a request that name a webhook, and who asks. Raises Problem."""
    identifier = parse_id(webhook_id, "the webhook")
    return {**caller.owner._asdict(), "id": identifier, "test_only": caller.test}


def to_json(webhook: Webhook) -> dict[str, object]:
    """With Resend's field names."""
    found: dict[str, object] = {
        "object": "webhook",
        "id": webhook.id,
        "tenant_id": webhook.tenant_id or None,
        "tenant_ids": list(webhook.tenant_ids),
        "endpoint": webhook.url,
        "events": list(webhook.event_types),
        "domain_ids": list(webhook.domain_ids),
        "tags": list(webhook.tags),
        "streams": list(webhook.streams),
        "svix_headers": webhook.svix_headers,
        "status": "enabled" if webhook.enabled else "disabled",
        "disabled_reason": webhook.disabled_reason or None,
        "created_at": format_timestamp(webhook.created_at),
        "previous_secret_expires_at": format_timestamp(webhook.previous_secret_expires_at),
    }
    if webhook.signing_secret:
        found["signing_secret"] = webhook.signing_secret
        found["headers"] = dict(webhook.headers)
    return found
