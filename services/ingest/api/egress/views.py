"""JSON of limits, egress pools and sources, overrides and standings."""

import hashlib
from collections.abc import Sequence
from typing import Any

from contracts.router.v1.directory_pb2 import Pool
from contracts.router.v1.policies_pb2 import (
    CheckOutcome,
    LimitsChanged,
    ListingChanged,
    OverrideSet,
    StandingChanged,
)
from contracts.router.v1.policy_service_pb2 import LimitUsage, Source, Warmup
from kernel.ids import uuid7_of
from services.ingest.api.callers import Caller, CallerKind
from services.ingest.api.rest_base import format_timestamp

SUSPEND_EGRESS, SUSPEND_SITE = "suspend_egress", "suspend_site"
FINISHED = "finished"


def id_of_limit(one: LimitUsage) -> str:
    return f"{one.scope}/{one.limit}"


def usage_to_json(one: LimitUsage) -> dict[str, object]:
    return {
        "object": "limit",
        "id": id_of_limit(one),
        "scope": one.scope,
        "limit": one.limit,
        "maximum": one.maximum,
        "used": one.used,
        "remaining": max(one.maximum - one.used, 0),
        "available_at": format_timestamp(one.available_at),
        "reason": one.reason or None,
        "set_by": one.set_by or None,
    }


def limits_to_json(one: LimitsChanged) -> dict[str, object]:
    return {
        "object": "limits",
        "scope": one.scope,
        "per_second": one.per_second or None,
        "per_minute": one.per_minute or None,
        "per_hour": one.per_hour or None,
        "per_day": one.per_day or None,
        "in_flight": one.in_flight_max or None,
        "time_zone": one.time_zone or None,
        "weight": one.weight or None,
        "changed_at": format_timestamp(one.changed_at),
        "changed_by": one.changed_by,
    }


def pool_to_json(pool: Pool) -> dict[str, object]:
    return {
        "object": "pool",
        "id": pool.pool_id,
        "name": pool.name,
        "overflow_pool_id": pool.overflow_pool_id or None,
        "feedback_domain_id": pool.feedback_domain_id or None,
        "cell": pool.cell,
        "moves_to": pool.moves_to or None,
    }


def addresses_of(one: Source) -> list[str]:
    return [address for address in (one.source.source_ip, one.source.source_ipv6) if address]


def ip_to_json(caller: Caller, one: Source) -> dict[str, object]:
    """Only operators see the machines of the installation, and the numbers of messages, which
    several customers may have sent."""
    source, counts = one.source, caller.kind == CallerKind.OPERATOR
    return {
        "object": "ip",
        "id": source.egress_id,
        "addresses": addresses_of(one),
        "ehlo": source.ehlo or None,
        "egress_host": (source.egress_host or None) if counts else None,
        "pool_id": source.pool_id,
        "state": one.state,
        "paused": source.paused,
        "suspended_until": suspended_until(one.overrides, SUSPEND_EGRESS),
        "in_flight": one.in_flight if counts else None,
        "problems": [problem_to_json(each) for each in one.problems],
        "dnsbl": [listing_to_json(each) for each in one.listings],
        "dnsbl_history": [listing_to_json(each) for each in one.ended_listings],
        "warmup": warmup_to_json(one.warmup, counts=counts) if one.HasField("warmup") else None,
        "sites": sites_to_json(one, counts=counts),
    }


def suspended_until(overrides: Sequence[OverrideSet], action: str) -> str | None:
    return next((format_timestamp(one.until) for one in overrides if one.action == action), None)


def problem_to_json(one: CheckOutcome) -> dict[str, object]:
    return {
        "check": one.check,
        "address": one.address,
        "problem": one.problem,
        "advice": one.advice,
    }


def listing_to_json(one: ListingChanged) -> dict[str, object]:
    found_at = format_timestamp(one.found_at)
    return {
        "blocklist": one.blocklist,
        "suspends": one.suspends,
        "found_at": found_at,
        "address": one.address,
        "codes": list(one.codes),
        "meaning": one.meaning,
        "text": one.text or None,
        "ended_at": None if one.listed else format_timestamp(one.changed_at),
    }


def warmup_to_json(one: Warmup, *, counts: bool) -> dict[str, object]:
    state, is_finished = one.state, one.state.status == FINISHED
    numbers: dict[str, Any] = {"sent": one.used, "delivered": one.delivered, "refused": one.refused}
    return {
        "enabled": not is_finished,
        "status": state.status,
        "ramp": state.ramp,
        "stage": state.stage + 1,
        "of": one.stages,
        "allowance_today": None if is_finished else state.per_day,
        **(numbers if counts else dict.fromkeys(numbers)),
        "delivered_share": round(one.delivered / one.used, 4) if one.used and counts else None,
        "day_began_at": format_timestamp(state.day_began_at),
        "advances_at": format_timestamp(one.advances_at),
        "held_because": None if is_finished else state.reason or None,
    }


def sites_to_json(one: Source, *, counts: bool) -> list[dict[str, object]]:
    warmups = {each.state.site: each for each in one.sites}
    overrides: dict[str, list[OverrideSet]] = {site: [] for site in warmups}
    for override in one.overrides:
        if site := override.scope.partition("/")[2].partition("/")[2]:
            overrides.setdefault(site, []).append(override)
    return [
        {
            "site": site,
            "suspended_until": suspended_until(overrides[site], SUSPEND_SITE),
            "overrides": sorted({each.action for each in overrides[site]}),
            "warmup": warmup_to_json(warmups[site], counts=counts) if site in warmups else None,
        }
        for site in sorted(overrides)
    ]


def id_of_override(one: OverrideSet) -> str:
    """Names of overrides have any length; a list needs ids that sort by time."""
    digest = hashlib.sha256(one.override_id.encode()).digest()
    return str(uuid7_of(one.set_at.ToMilliseconds(), digest))


def override_to_json(one: OverrideSet) -> dict[str, object]:
    return {
        "object": "override",
        "id": id_of_override(one),
        "name": one.override_id,
        "scope": one.scope,
        "action": one.action,
        "per_minute": one.per_minute or None,
        "set_at": format_timestamp(one.set_at),
        "until": format_timestamp(one.until),
        "restored_at": format_timestamp(one.ends_at),
        "reason": one.reason or None,
    }


def id_of_standing(one: StandingChanged) -> str:
    return f"{one.subject_kind}/{one.subject_id}"


def standing_to_json(one: StandingChanged) -> dict[str, object]:
    return {
        "object": "standing",
        "id": id_of_standing(one),
        "subject_kind": one.subject_kind,
        "subject_id": one.subject_id,
        "standing": one.standing,
        "reason": one.reason or None,
        "rate": one.rate,
        "changed_at": format_timestamp(one.changed_at),
    }
