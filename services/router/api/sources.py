"""Egress sources with their state, as it is stored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.directory_pb2 import EgressSource
from kernel.database import Transaction
from services.router.domain import listing_events, policy_events
from services.router.domain.events import timestamp
from services.router.domain.feedback_rules import FeedbackAction
from services.router.domain.ledger import ScopeKind
from services.router.domain.listings import ListingChanged
from services.router.domain.overrides import Override, OverrideApplied
from services.router.domain.policy_engine import AdaptivePolicies
from services.router.domain.source_states import SourceConditions, state_of
from services.router.domain.warmup import DAY_S, WarmupStatus
from services.router.domain.warmups import Warmups
from services.router.store import directory, results

OF_SOURCE = (ScopeKind.WARMUP, ScopeKind.EGRESS_SITE)


@dataclass(frozen=True, slots=True)
class SourceDescriber:
    """adaptive: with the sources of the cell. overrides, in_flight: by source."""

    adaptive: AdaptivePolicies
    listings: list[ListingChanged]
    overrides: Mapping[str, Sequence[Override]]
    in_flight: Counter[str] = field(default_factory=Counter)

    def describe(self, source: EgressSource) -> pb.Source | None:
        """None if the source is removed and has no message in flight."""
        egress_id, adaptive = source.egress_id, self.adaptive
        listings = [one for one in self.listings if one.egress_id == egress_id]
        overrides = self.overrides.get(egress_id, ())
        facts = SourceConditions(
            is_removed=source.deleted,
            is_paused=source.paused,
            is_listed=any(one.suspends for one in listings),
            is_host_failing=bool(adaptive.checks.host_problems(egress_id)),
            is_suspended=any(one.action is FeedbackAction.SUSPEND_EGRESS for one in overrides),
            needs_check=adaptive.checks.needs_check(egress_id),
            is_warming=adaptive.warmups.is_limited(egress_id),
            in_flight=self.in_flight[egress_id],
        )
        if (state := state_of(facts)) is None:
            return None
        warmup = adaptive.warmups.state_of(egress_id)
        return pb.Source(
            source=source,
            state=state,
            warmup=warmup_of(adaptive.warmups, egress_id) if warmup else None,
            problems=map(policy_events.check_outcome, adaptive.checks.problems(egress_id)),
            listings=map(listing_events.listing_changed, listings),
            in_flight=facts.in_flight,
            sites=[
                site
                for one in adaptive.warmups.states(egress_id)
                if one.site and (site := warmup_of(adaptive.warmups, egress_id, one.site))
            ],
            overrides=[policy_events.override_set(OverrideApplied(one)) for one in overrides],
        )


def warmup_of(warmups: Warmups, egress_id: str, site: str = "") -> pb.Warmup | None:
    if (state := warmups.state_of(egress_id, site)) is None:
        return None
    return pb.Warmup(
        state=policy_events.warmup_state(state),
        stages=warmups.stages_of(state),
        advances_at=timestamp(state.day_s + DAY_S)
        if state.status is WarmupStatus.RAMPING
        else None,
        **warmups.facts_of(egress_id, site)._asdict(),
    )


async def describe_sources(
    tx: Transaction,
    adaptive: AdaptivePolicies,
    sources: Sequence[EgressSource],
    *,
    in_flight: Counter[str],
    now_s: float,
) -> list[pb.Source]:
    """adaptive: with what concerns these sources. in_flight: messages by source."""
    adaptive.replace_sources(await directory.load_cell_sources(tx, None))
    overrides: dict[str, list[Override]] = {}
    for override in adaptive.feedback.overrides(now_s):
        if override.scope.kind in OF_SOURCE:
            overrides.setdefault(override.scope.id.partition("/")[0], []).append(override)
    view = SourceDescriber(adaptive, adaptive.listings.in_force(now_s), overrides, in_flight)
    described = map(view.describe, sources)
    return [one for one in described if one]


async def count_in_flight(tx: Transaction) -> Counter[str]:
    """Messages that are assigned and have no result, by egress source."""
    in_flight: Counter[str] = Counter()
    for one in await results.read_in_flight(tx):
        in_flight[one.egress_id] += one.number
    return in_flight
