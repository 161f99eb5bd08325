"""The events of warmups, overrides and standings: as decided, as published and as stored.

The latest event of a subject is its state: a takeover reads one row of each.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.router.v1 import policies_pb2 as pb
from contracts.shield.v1.learning_pb2 import CampaignAssessed
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp, unix_s
from services.router.domain.feedback_rules import FeedbackAction
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import Limits
from services.router.domain.operator_limits import LimitsChanged
from services.router.domain.overrides import (
    Override,
    OverrideApplied,
    OverrideEvent,
    OverrideRemoved,
)
from services.router.domain.policies import egress_site_scope
from services.router.domain.pool_owners import PoolOwner
from services.router.domain.source_checks import (
    SelfCheckFinding,
    SelfCheckKind,
    SelfCheckResult,
    SourceChecked,
)
from services.router.domain.standings import Standing, StandingChanged, Subject, SubjectKind
from services.router.domain.warmup import Warmup, WarmupChanged, WarmupStatus

NEVER_S = float("-inf")
MICROS = 1e6


def warmup_scope(egress_id: str, site: str = "") -> LimitScope:
    return egress_site_scope(egress_id, site) if site else LimitScope(ScopeKind.WARMUP, egress_id)


def subject_key(subject: Subject) -> str:
    return f"{subject.kind}/{subject.id}"


def version_of(at_s: float) -> int:
    return round(at_s * MICROS)


def optional_timestamp(at_s: float) -> Timestamp | None:
    return timestamp(at_s) if isfinite(at_s) and at_s else None


def warmup_changed(event: WarmupChanged, state: Warmup) -> pb.WarmupChanged:
    """state: after the event."""
    changed = warmup_state(state)
    changed.version, changed.change = version_of(event.at_s), event.change
    changed.changed_at.CopyFrom(timestamp(event.at_s))
    changed.used, changed.delivered = event.used, event.delivered
    return changed


def warmup_state(state: Warmup) -> pb.WarmupChanged:
    return pb.WarmupChanged(
        scope=warmup_scope(state.egress_id, state.site).key,
        egress_id=state.egress_id,
        site=state.site,
        ramp=state.ramp,
        stage=state.stage,
        per_day=state.per_day,
        reason=state.held_because,
        growth=state.growth,
        status=state.status,
        volume=state.volume,
        day_began_at=timestamp(state.day_s),
        stage_began_at=timestamp(state.stage_s),
        lowered_at=optional_timestamp(state.lowered_s),
        last_used_at=optional_timestamp(state.last_used_s),
    )


def warmup_of(event: pb.WarmupChanged) -> Warmup:
    return Warmup(
        event.egress_id,
        event.site,
        WarmupStatus(event.status),
        event.ramp,
        event.stage,
        event.per_day,
        unix_s(event.day_began_at),
        unix_s(event.stage_began_at),
        unix_s(event.lowered_at) if event.HasField("lowered_at") else NEVER_S,
        event.growth,
        event.volume,
        unix_s(event.last_used_at),
        event.reason,
    )


def override_event(event: OverrideEvent) -> pb.OverrideSet | pb.OverrideRemoved:
    return override_set(event) if isinstance(event, OverrideApplied) else override_removed(event)


def override_removed(event: OverrideRemoved) -> pb.OverrideRemoved:
    return pb.OverrideRemoved(
        override_id=event.override.override_id,
        version=version_of(event.at_s),
        scope=event.override.scope.key,
        action=event.override.action,
        removed_at=timestamp(event.at_s),
        removed_by=event.removed_by,
    )


def override_set(event: OverrideApplied) -> pb.OverrideSet:
    override = event.override
    return pb.OverrideSet(
        override_id=override.override_id,
        version=version_of(override.from_s),
        scope=override.scope.key,
        action=override.action,
        rule=override.rule,
        reason=override.reason,
        set_at=timestamp(override.from_s),
        until=timestamp(override.until_s),
        ends_at=timestamp(override.ends_s),
        per_minute=override.per_minute,
        per_hour=override.per_hour,
        level=override.level,
    )


def override_of(event: pb.OverrideSet) -> Override:
    kind, _, scope_id = event.scope.partition("/")
    return Override(
        event.override_id,
        LimitScope(ScopeKind(kind), scope_id),
        FeedbackAction(event.action),
        event.rule,
        event.reason,
        unix_s(event.set_at),
        unix_s(event.until),
        unix_s(event.ends_at),
        event.per_minute,
        event.per_hour,
        event.level,
    )


def standing_changed(event: StandingChanged) -> pb.StandingChanged:
    return pb.StandingChanged(
        subject_kind=event.subject.kind,
        subject_id=event.subject.id,
        version=version_of(event.at_s),
        standing=event.standing,
        reason=event.reason,
        rate=event.rate,
        changed_at=timestamp(event.at_s),
    )


def standing_of(event: pb.StandingChanged) -> StandingChanged:
    return StandingChanged(
        Subject(SubjectKind(event.subject_kind), event.subject_id),
        Standing(event.standing),
        unix_s(event.changed_at),
        event.reason,
        event.rate,
    )


def limits_event(event: LimitsChanged) -> pb.LimitsChanged:
    limits = event.limits
    return pb.LimitsChanged(
        scope=event.scope.key,
        version=version_of(event.at_s),
        per_second=limits.per_second,
        per_minute=limits.per_minute,
        per_hour=limits.per_hour,
        per_day=limits.per_day,
        in_flight_max=limits.in_flight_max,
        time_zone=limits.day_zone,
        weight=event.weight,
        changed_at=timestamp(event.at_s),
        changed_by=event.changed_by,
    )


def limits_of(event: pb.LimitsChanged) -> LimitsChanged:
    """Raises ValueError for a scope of an unknown kind."""
    if (scope := LimitScope.of(event.scope)) is None:
        raise ValueError(f"there is no scope {event.scope[:80]!r}.")
    limits = Limits(
        event.per_second,
        event.per_minute,
        event.per_hour,
        event.per_day,
        event.in_flight_max,
        event.time_zone,
        event.time_zone,
    )
    return LimitsChanged(scope, limits, unix_s(event.changed_at), event.changed_by, event.weight)


def set_source(
    event: pb.WarmupChanged | pb.ListingChanged, source: EgressSource, owner: PoolOwner
) -> None:
    """Whose source it is, as it is now."""
    event.account_id, event.tenant_id = owner
    event.pool_id = source.pool_id
    event.addresses.extend(filter(None, (source.source_ip, source.source_ipv6)))


def source_checked(event: SourceChecked) -> pb.SourceChecked:
    return pb.SourceChecked(
        egress_id=event.egress_id,
        version=version_of(event.at_s),
        checked_at=timestamp(event.at_s),
        problems=map(check_outcome, event.problems),
        passed_at=optional_timestamp(event.passed_s),
    )


def source_checked_of(event: pb.SourceChecked) -> SourceChecked:
    passed_s = unix_s(event.passed_at) if event.HasField("passed_at") else 0.0
    problems = tuple(map(outcome_of, event.problems))
    return SourceChecked(event.egress_id, unix_s(event.checked_at), problems, passed_s)


def check_outcome(one: SelfCheckFinding) -> pb.CheckOutcome:
    return pb.CheckOutcome(
        check=one.check, address=one.address, problem=one.problem, advice=one.advice
    )


def outcome_of(one: pb.CheckOutcome) -> SelfCheckFinding:
    return SelfCheckFinding(SelfCheckKind(one.check), one.address, one.problem, one.advice)


def check_result_of(found: pb.SourceCheck) -> SelfCheckResult:
    return SelfCheckResult(
        found.egress_id,
        unix_s(found.checked_at),
        tuple(found.addresses),
        tuple(map(outcome_of, found.outcomes)),
        found.is_complete,
    )


def override_key(event: pb.OverrideSet | pb.OverrideRemoved) -> str:
    return f"override/{event.action}/{event.scope}"


# The field of PolicyEvent, and the subject.
STORED: Mapping[type[Message], tuple[str, Callable[[Any], str]]] = {
    pb.WarmupChanged: ("warmup_changed", lambda one: one.scope),
    pb.OverrideSet: ("override_set", override_key),
    pb.OverrideRemoved: ("override_removed", override_key),
    pb.LimitsChanged: ("limits_changed", lambda one: f"limits/{one.scope}"),
    pb.StandingChanged: (
        "standing_changed",
        lambda one: f"{one.subject_kind}/{one.subject_id}",
    ),
    pb.ListingChanged: ("listing_changed", lambda one: f"listing/{one.egress_id}/{one.blocklist}"),
    pb.SourceChecked: ("source_checked", lambda one: f"source_check/{one.egress_id}"),
    CampaignAssessed: ("campaign_assessed", lambda one: f"{ScopeKind.CAMPAIGN}/{one.campaign_id}"),
}


def to_stored(event: Message) -> tuple[str, bytes]:
    """The subject of an event, and the event as stored."""
    name, subject_of = STORED[type(event)]
    row = pb.PolicyEvent(**{name: event})  # type: ignore[arg-type]
    return subject_of(event), row.SerializeToString()


def of_all_cells(event: Message) -> bool:
    """Whether each cell stores the event for itself, because all of them are told."""
    return isinstance(event, (pb.LimitsChanged, CampaignAssessed))


def subjects_of_tenant(tenant_id: str) -> list[str]:
    """As subjects_of_source, without limits and campaigns, which all cells know."""
    scopes = (f"{ScopeKind.TENANT}/{tenant_id}", f"{ScopeKind.TENANT_SITE}/{tenant_id}")
    overrides = [f"override/{action}/{scope}" for action in FeedbackAction for scope in scopes]
    return [f"{SubjectKind.TENANT}/{tenant_id}", *overrides]


def subjects_of_source(egress_id: str) -> list[str]:
    """The subjects of events about an egress source, or their beginnings."""
    scopes = [warmup_scope(egress_id).key, f"{ScopeKind.EGRESS_SITE}/{egress_id}"]
    overrides = [f"override/{action}/{scope}" for action in FeedbackAction for scope in scopes]
    return [*scopes, *overrides, f"listing/{egress_id}", f"source_check/{egress_id}"]
