"""Accounts, brands, tenants, API keys and mailboxes as the JSON of REST; gRPC has its fields."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from contracts.ingest.v1.directory_pb2 import Account, AccountStatus, ApiKey, Mailbox, Tenant
from kernel import clock
from kernel.ids import creation_time_of
from services.ingest.api.administration.brands import BrandWithId
from services.ingest.api.administration.mailboxes import MailboxResource, SmtpHost
from services.ingest.api.administration.tenants import AMBIGUOUS_POLICIES, REPUTATION_POLICIES
from services.ingest.api.callers import Caller, caller_kind_of
from services.ingest.api.rest_base import format_time, format_timestamp
from services.ingest.domain.mailbox import is_active, is_rotating
from services.ingest.domain.pause import is_paused
from services.ingest.store.audit_log_list import AuditEntry

AMBIGUOUS_FAIL = AMBIGUOUS_POLICIES["fail"]
POLICY_NAMES = {value: name for name, value in REPUTATION_POLICIES.items()}


def account_to_json(account: Account) -> dict[str, object]:
    suspended = account.status == AccountStatus.ACCOUNT_STATUS_SUSPENDED
    return {
        "object": "account",
        "id": account.account_id,
        "name": account.name,
        "plan": account.plan or None,
        "billing_email": account.billing_email or None,
        "brand": account.brand or None,
        "billing_id": account.billing_id or None,
        "status": "suspended" if suspended else "active",
        "status_reason": account.status_reason or None,
        "created_at": format_time(creation_time_of(UUID(account.account_id))),
    }


def brand_to_json(entry: BrandWithId) -> dict[str, object]:
    brand = entry.brand
    return {
        "object": "brand",
        "id": entry.id,
        "name": brand.name,
        "slug": brand.slug,
        "sandbox_domain": brand.sandbox_domain,
        "problem_type": brand.problem_type,
        "user_agent": brand.user_agent,
        "smtp_host": brand.smtp_host or None,
        "bounce_mx": brand.bounce_mx or None,
        "spf_include": brand.spf_include or None,
        "api_hosts": list(brand.api_hosts),
        "docs_host": brand.docs_host or None,
        "tracking_host": brand.tracking_host or None,
        "unsubscribe_host": brand.unsubscribe_host or None,
        "selector_prefix": brand.selector_prefix or None,
        "dkim_zone": brand.dkim_zone or None,
        "logo_url": brand.logo_url or None,
        "color": brand.color or None,
        "source": "api" if entry.is_record else "file",
        "created_at": format_time(creation_time_of(UUID(entry.id))) if entry.is_record else None,
    }


def tenant_to_json(tenant: Tenant) -> dict[str, object]:
    pause = None
    if is_paused(tenant, clock.now().timestamp()):
        pause = {
            "reason": tenant.pause.reason or None,
            "until": format_timestamp(tenant.pause.until),
            "by": tenant.pause.by,
        }
    return {
        "object": "tenant",
        "id": tenant.tenant_id,
        "account_id": tenant.account_id,
        "name": tenant.name,
        "external_id": tenant.external_id or None,
        "status": "paused" if pause else "active",
        "pause": pause,
        "limits": limits_to_json(tenant),
        "ambiguous_policy": "fail" if tenant.ambiguous_policy == AMBIGUOUS_FAIL else "retry",
        "pool_id": tenant.pool_id or None,
        "hold_score": tenant.hold_score or None,
        "block_score": tenant.block_score or None,
        "reputation_policy": POLICY_NAMES.get(tenant.reputation_policy, "default"),
        "created_at": format_time(creation_time_of(UUID(tenant.tenant_id))),
    }


def limits_to_json(limited: Tenant | Mailbox) -> dict[str, object]:
    return {
        "per_second": limited.per_second_max or None,
        "per_hour": limited.per_hour_max or None,
        "per_day": limited.per_day_max or None,
    }


def mailbox_to_json(
    mailbox: Mailbox, smtp: SmtpHost, last_used_at: datetime | None = None
) -> dict[str, object]:
    rotating = is_rotating(mailbox, clock.now().timestamp())
    return {
        "object": "mailbox",
        "id": mailbox.mailbox_id,
        "account_id": mailbox.account_id,
        "tenant_id": mailbox.tenant_id,
        "domain_id": mailbox.domain_id,
        "address": mailbox.address,
        "username": mailbox.address,
        "name": mailbox.name or None,
        "status": "active" if is_active(mailbox) else "paused",
        "any_address": mailbox.any_address,
        "limits": limits_to_json(mailbox),
        "test": mailbox.test,
        "smtp": {
            "host": smtp.host,
            "ports": {"starttls": smtp.port or None, "tls": smtp.tls_port or None},
        },
        "previous_password_expires_at": format_timestamp(mailbox.previous_expires_at)
        if rotating
        else None,
        "last_used_at": format_time(last_used_at) if last_used_at is not None else None,
        "created_at": format_time(creation_time_of(UUID(mailbox.mailbox_id))),
    }


async def mailboxes_to_json(
    mailboxes: MailboxResource, caller: Caller, found: Sequence[Mailbox]
) -> list[dict[str, object]]:
    """With when they were last used. Raises Problem."""
    used = await mailboxes.last_used(caller, found)
    return [mailbox_to_json(one, mailboxes.smtp_of(one), used.get(one.mailbox_id)) for one in found]


def api_key_to_json(key: ApiKey, last_used_at: datetime | None = None) -> dict[str, object]:
    return {
        "object": "api_key",
        "id": key.key_id,
        "name": key.name,
        "kind": caller_kind_of(key).value,
        "account_id": key.account_id or None,
        "tenant_id": key.tenant_id or None,
        "prefix": key.prefix or None,
        "permission": next(iter(key.scopes), None),
        "domain_id": key.domain_id or None,
        "cidrs": list(key.cidrs),
        "expires_at": format_timestamp(key.expires_at),
        "last_used_at": format_time(last_used_at) if last_used_at is not None else None,
        "rotated_from": key.rotated_from or None,
        "test": key.test,
        "created_at": format_time(creation_time_of(UUID(key.key_id))),
    }


def audit_entry_to_json(entry: AuditEntry) -> dict[str, object]:
    return {
        "object": "audit_entry",
        "id": entry.id,
        "created_at": format_time(creation_time_of(UUID(entry.id))),
        "actor": {"kind": entry.actor_kind, "id": entry.actor_id},
        "action": entry.action,
        "resource": entry.resource,
        "resource_id": entry.resource_id,
        "account_id": entry.account_id,
        "tenant_id": entry.tenant_id,
        "before": entry.before,
        "after": entry.after,
        "request_id": entry.request_id or None,
        "client": entry.client or None,
    }
