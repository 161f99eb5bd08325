"""Egress sources with their state, as the rows say."""

from collections import Counter
from dataclasses import dataclass, field

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.directory_pb2 import EgressSource
from kernel.database import Transaction
from services.router.domain import policy_events
from services.router.domain.adaptation import AdaptivePolicies
from services.router.domain.listings import ListingChanged
from services.router.domain.source_states import SourceFacts, state_of
from services.router.domain.warmups import Warmups
from services.router.store import directory, results


@dataclass(frozen=True, slots=True)
class SourceView:
    """adaptive: with the sources of the cell. in_flight: messages by source."""

    adaptive: AdaptivePolicies
    listings: list[ListingChanged]
    in_flight: Counter[str] = field(default_factory=Counter)

    def describe(self, source: EgressSource) -> pb.Source | None:
        """None if the source is removed and has no message in flight."""
        egress_id, adaptive = source.egress_id, self.adaptive
        listings = [one for one in self.listings if one.egress_id == egress_id]
        facts = SourceFacts(
            is_removed=source.deleted,
            is_paused=source.paused,
            is_listed=any(one.suspends for one in listings),
            needs_check=adaptive.checks.needs_check(egress_id),
            is_warming=adaptive.warmups.is_limited(egress_id),
            in_flight=self.in_flight[egress_id],
        )
        if (state := state_of(facts)) is None:
            return None
        checked = adaptive.checks.states().get(egress_id)
        warmup = adaptive.warmups.state_of(egress_id)
        return pb.Source(
            source=source,
            state=state,
            warmup=warmup_of(adaptive.warmups, egress_id) if warmup else None,
            problems=map(policy_events.check_outcome, checked.problems if checked else ()),
            listings=map(policy_events.listing_changed, listings),
            in_flight=facts.in_flight,
        )


def warmup_of(warmups: Warmups, egress_id: str, site: str = "") -> pb.Warmup | None:
    if (state := warmups.state_of(egress_id, site)) is None:
        return None
    return pb.Warmup(
        state=policy_events.warmup_state(state),
        stages=warmups.stages_of(state),
        **warmups.facts_of(egress_id, site)._asdict(),
    )


async def load_sources(
    tx: Transaction, adaptive: AdaptivePolicies, *, now_s: float
) -> list[pb.Source]:
    """In the order of their ids, which is that in which they were added."""
    adaptive.replace_sources(await directory.load_cell_sources(tx))
    in_flight: Counter[str] = Counter()
    for one in await results.read_in_flight(tx):
        in_flight[one.egress_id] += one.number
    view = SourceView(adaptive, adaptive.listings.in_force(now_s), in_flight)
    described = map(view.describe, await directory.load_all_sources(tx))
    return [one for one in described if one]
