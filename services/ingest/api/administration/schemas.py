"""Schemas of the responses of the administrative operations, for the OpenAPI document."""

from typing import Any, Literal

from msgspec import Struct

from services.ingest.api.response_schemas import Id, Time


class AccountResponse(Struct):
    """A customer of the installation."""

    object: Literal["account"]
    id: Id
    name: str
    plan: str | None
    billing_email: str | None
    brand: str | None
    billing_id: str | None
    status: Literal["active", "suspended"]
    status_reason: str | None
    created_at: Time


class BrandResponse(Struct):
    """The names by which customers know the installation. source: brands of the
    operator's file cannot be changed here."""

    object: Literal["brand"]
    id: str
    name: str
    slug: str
    sandbox_domain: str
    problem_type: str
    user_agent: str
    smtp_host: str | None
    bounce_mx: str | None
    spf_include: str | None
    api_hosts: list[str]
    docs_host: str | None
    tracking_host: str | None
    unsubscribe_host: str | None
    selector_prefix: str | None
    dkim_zone: str | None
    logo_url: str | None
    color: str | None
    source: Literal["api", "file"]
    created_at: Time | None


class PauseResponse(Struct):
    """Why and until when a tenant is paused; until null: until it is resumed."""

    reason: str | None
    until: Time | None
    by: str


class LimitsResponse(Struct):
    """Messages per period; null: no limit."""

    per_second: int | None
    per_hour: int | None
    per_day: int | None


class TenantResponse(Struct):
    """An isolated sending unit of an account."""

    object: Literal["tenant"]
    id: Id
    account_id: Id
    name: str
    external_id: str | None
    status: Literal["active", "paused"]
    pause: PauseResponse | None
    limits: LimitsResponse
    ambiguous_policy: Literal["retry", "fail"]
    pool_id: Id | None
    hold_score: float | None
    block_score: float | None
    reputation_policy: Literal["default", "none", "standard", "strict"]
    created_at: Time


class LimitUsageResponse(Struct):
    """A limit of a scope and its use. reason: `warmup` or `override`, if it decides. set_by: the
    operator who has set it; null: another source. available_at: when the scope has capacity again;
    null: now."""

    object: Literal["limit"]
    id: str
    scope: str
    limit: str
    maximum: int
    used: int
    remaining: int
    available_at: Time | None
    reason: str | None
    set_by: str | None


class ScopeLimitsResponse(Struct):
    """The limits of a scope that an operator has set; null: no limit."""

    object: Literal["limits"]
    scope: str
    per_second: int | None
    per_minute: int | None
    per_hour: int | None
    per_day: int | None
    in_flight: int | None
    time_zone: str | None
    weight: int | None
    changed_at: Time
    changed_by: str


class PoolResponse(Struct):
    """The egress sources that tenants send through."""

    object: Literal["pool"]
    id: Id
    name: str
    overflow_pool_id: Id | None
    feedback_domain_id: Id | None
    cell: str
    moves_to: str | None


class CellResponse(Struct):
    """A set of pools. is_owned: whether a process of the router schedules their mail."""

    object: Literal["cell"]
    id: str
    pools: int
    is_owned: bool


class ApiKeyResponse(Struct):
    """An API key without its secret. kind: whose key it is. prefix: its first characters.
    last_used_at: to the minute."""

    object: Literal["api_key"]
    id: Id
    name: str
    kind: Literal["operator", "account", "tenant"]
    account_id: Id | None
    tenant_id: Id | None
    prefix: str | None
    permission: Literal["full_access", "sending_access"] | None
    domain_id: Id | None
    cidrs: list[str]
    expires_at: Time | None
    last_used_at: Time | None
    rotated_from: Id | None
    test: bool
    created_at: Time


class CreatedApiKey(ApiKeyResponse):
    """token: the secret key; no other response contains it."""

    token: str


class SmtpPortsResponse(Struct):
    """starttls: usually 587. tls: with TLS from the start, usually 465. null: not offered."""

    starttls: int | None
    tls: int | None


class SmtpResponse(Struct):
    """Where a mail program submits."""

    host: str
    ports: SmtpPortsResponse


class MailboxResponse(Struct):
    """A mailbox without its password. last_used_at: to the minute. previous_password_expires_at:
    until when the password before the last rotation works; null: it does not."""

    object: Literal["mailbox"]
    id: Id
    account_id: Id
    tenant_id: Id
    domain_id: Id
    address: str
    username: str
    name: str | None
    status: Literal["active", "paused"]
    any_address: bool
    limits: LimitsResponse
    test: bool
    smtp: SmtpResponse
    previous_password_expires_at: Time | None
    last_used_at: Time | None
    created_at: Time


class CreatedMailbox(MailboxResponse):
    """password: no other response contains it."""

    password: str


class CreatedMailboxes(Struct):
    """In the order of the request."""

    object: Literal["list"]
    data: list[CreatedMailbox]


class ActorResponse(Struct):
    """Who acted. id: of the key; with kind `command`, the name of the user."""

    kind: Literal["operator", "account", "tenant", "command"]
    id: str


class AuditEntryResponse(Struct):
    """An administrative act. before, after: the fields of the resource, without secrets; null if it
    did not exist."""

    object: Literal["audit_entry"]
    id: Id
    created_at: Time
    actor: ActorResponse
    action: str
    resource: str
    resource_id: Id
    account_id: Id | None
    tenant_id: Id | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None
    client: str | None


class DkimZoneRecord(Struct):
    """A record of a zone of the installation. value: unquoted."""

    name: str
    type: Literal["TXT"]
    value: str


class DomainDkimRecordsResponse(Struct):
    """The records of a domain's keys. id: of the domain."""

    object: Literal["dkim_zone_entry"]
    id: Id
    domain: str
    records: list[DkimZoneRecord]
