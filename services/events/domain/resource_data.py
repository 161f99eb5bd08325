"""The types and the data of the public events that are not of emails: of domains, suppressions,
tenants, reports, accounts, API keys and IPs."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_pb2 import ReportReady, UsageThresholdReached
from contracts.ingest.v1.events_pb2 import ApiKeyRotated, DomainChanged
from contracts.router.v1.events_pb2 import SuppressionChanged
from contracts.router.v1.policies_pb2 import (
    LimitReached,
    ListingChanged,
    StandingChanged,
    WarmupChanged,
)
from kernel import times

EventData: TypeAlias = dict[str, Any]

DOMAIN_TYPES = frozenset(
    f"domain.{change}"
    for change in (
        *("created", "updated", "verified", "failed", "paused", "resumed", "deleted"),
        *("listed", "delisted"),
    )
)
SUPPRESSION_TYPES = frozenset({"suppression.added", "suppression.removed"})
TENANT_TYPES = {
    "good": "tenant.resumed",
    "warned": "tenant.warned",
    "broadcasts_paused": "tenant.paused",
    "paused": "tenant.paused",
}
WARMUP_TYPES = {
    "started": "ip.warmup_started",
    "advanced": "ip.warmup_advanced",
    "lowered": "ip.warmup_regressed",
    "decayed": "ip.warmup_regressed",
    "paused": "ip.warmup_paused",
    "resumed": "ip.warmup_resumed",
    "finished": "ip.warmup_finished",
}
LISTING_TYPES = {True: "ip.listed", False: "ip.delisted"}
RESOURCE_TYPES = frozenset(
    {
        *DOMAIN_TYPES,
        *SUPPRESSION_TYPES,
        *TENANT_TYPES.values(),
        *WARMUP_TYPES.values(),
        *LISTING_TYPES.values(),
    }
)


def domain_data(event: DomainChanged) -> EventData:
    """Resend's fields, without the records; reason: the record that is missing or wrong, or the
    listings."""
    return {
        "id": event.domain_id,
        "name": event.name,
        "status": event.status,
        "changed_at": format_time_ms(milliseconds_of(event.changed_at)),
        "reason": event.reason,
    }


def suppression_data(event: SuppressionChanged) -> EventData:
    """Resend's fields, and more. changed_by: id of the API key, if one added or removed it."""
    expires = event.HasField("expires_at")
    return {
        "id": event.suppression_id,
        "email": event.address,
        "origin": event.origin,
        "source_id": event.source_id or None,
        "created_at": format_time_ms(milliseconds_of(event.created_at)),
        "list": event.list or None,
        "reason": event.reason or None,
        "note": event.note or None,
        "expires_at": format_time_ms(milliseconds_of(event.expires_at)) if expires else None,
        "changed_by": event.changed_by or None,
    }


def standing_data(event: StandingChanged) -> EventData:
    """rate: the share of messages that decided."""
    return {
        "id": event.subject_id,
        "standing": event.standing,
        "reason": event.reason,
        "rate": event.rate,
        "changed_at": format_time_ms(milliseconds_of(event.changed_at)),
    }


def report_data(event: ReportReady) -> EventData:
    return {
        "id": event.report_id,
        "name": event.name,
        "frequency": event.frequency,
        "timezone": event.timezone,
        "period_start": format_time_ms(event.period_start_ms),
        "period_end": format_time_ms(event.period_end_ms),
        "figures": msgspec.json.decode(event.figures or "null"),
    }


def usage_data(event: UsageThresholdReached) -> EventData:
    return {
        "account_id": event.account_id,
        "meter": event.meter,
        "period": event.month,
        "percent": event.percent,
        "used": event.used,
        "limit": event.limit,
        "plan": event.plan,
        "reached_at": format_time_ms(milliseconds_of(event.reached_at)),
    }


def api_key_data(event: ApiKeyRotated) -> EventData:
    """The fields of the API, of the new key. rotated_by: id of the key that asked for it."""
    return {
        "id": event.key_id,
        "name": event.name,
        "prefix": event.prefix,
        "test": event.test,
        "account_id": event.account_id,
        "rotated_from": event.rotated_from,
        "rotated_at": format_time_ms(milliseconds_of(event.rotated_at)),
        "old_expires_at": format_time_ms(milliseconds_of(event.old_expires_at)),
        "rotated_by": event.rotated_by or None,
    }


def warmup_data(event: WarmupChanged) -> EventData:
    """The names of the API. site: None for all sites. allowance: messages a day; None: no limit."""
    is_finished = event.status == "finished"
    return {
        **_source_data(event),
        "site": event.site or None,
        "status": event.status,
        "ramp": event.ramp,
        "stage": event.stage + 1,
        "allowance_today": None if is_finished else event.per_day,
        "reason": event.reason or None,
    }


def listing_data(event: ListingChanged) -> EventData:
    """blocklist: its name. suspends: the IP sends nothing meanwhile. Of a listing: the address, the
    codes of the answer, what they mean, and why in the words of the list."""
    return {
        **_source_data(event),
        "blocklist": event.blocklist,
        "suspends": event.listed and event.suspends,
        "address": event.address or None,
        "codes": list(event.codes),
        "meaning": event.meaning or None,
        "text": event.text or None,
        "found_at": format_time_ms(milliseconds_of(event.found_at)),
    }


def limit_data(event: LimitReached) -> EventData:
    """The names of the API. scope: its kind and id."""
    return {
        "scope": event.scope,
        "limit": event.limit,
        "maximum": event.maximum,
        "reached_at": format_time_ms(milliseconds_of(event.reached_at)),
        "resets_at": format_time_ms(milliseconds_of(event.resets_at)),
    }


def _source_data(event: WarmupChanged | ListingChanged) -> EventData:
    return {
        "id": event.egress_id,
        "addresses": list(event.addresses),
        "pool_id": event.pool_id,
        "account_id": event.account_id,
        "changed_at": format_time_ms(milliseconds_of(event.changed_at)),
    }


def format_time_ms(moment_ms: int) -> str:
    """RFC 3339 in UTC, of Unix milliseconds; a time out of range is clamped."""
    seconds, milliseconds = divmod(min(max(moment_ms, 0), times.LAST_MS), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{milliseconds:03d}Z"


def milliseconds_of(moment: Timestamp) -> int:
    return moment.seconds * 1000 + moment.nanos // 1_000_000


# A newer version of another service may have more types.
TYPES_OF_RESOURCES: dict[type[Message], Callable[[Any], str]] = {
    DomainChanged: lambda one: one.type if one.type in DOMAIN_TYPES else "domain.updated",
    SuppressionChanged: lambda one: f"suppression.{one.change}",
    StandingChanged: lambda one: TENANT_TYPES.get(one.standing, "tenant.warned"),
    WarmupChanged: lambda one: WARMUP_TYPES.get(one.change, "ip.warmup_advanced"),
    ListingChanged: lambda one: LISTING_TYPES[one.listed],
}
DATA_OF_RESOURCES: dict[type[Message], Callable[[Any], EventData]] = {
    DomainChanged: domain_data,
    SuppressionChanged: suppression_data,
    StandingChanged: standing_data,
    ReportReady: report_data,
    UsageThresholdReached: usage_data,
    ApiKeyRotated: api_key_data,
    WarmupChanged: warmup_data,
    ListingChanged: listing_data,
    LimitReached: limit_data,
}
