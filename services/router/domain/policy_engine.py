"""What the engine decides about limits by itself, from the results of attempts and the commands of
operators: warmups, overrides and standings.

Each decision is an event. The scheduler saves and publishes them in the transaction of the tick
that decided; counts that later decisions need are saved with them, or within a second.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_EGRESS_FAILED
from contracts.router.v1 import policies_pb2 as pb
from contracts.router.v1.policies_pb2 import ListingCheck, PolicyCommand, PolicyEvent, SourceCheck
from contracts.router.v1.results_pb2 import RESULT_KIND_ATTEMPT, Result
from services.router.domain import listing_events, policy_events
from services.router.domain.campaigns import FIRST_ALLOWANCE, CampaignAssessments
from services.router.domain.egress import EgressSource
from services.router.domain.events import unix_s
from services.router.domain.feedback import FeedbackController
from services.router.domain.feedback_rules import FeedbackRule
from services.router.domain.ledger import ScopeKind
from services.router.domain.listings import SUSPENDING_WEIGHT, SourceListings
from services.router.domain.message import SANDBOX
from services.router.domain.operator_limits import LimitsChanged, OperatorLimits
from services.router.domain.overrides import Override, OverrideApplied, OverrideEvent
from services.router.domain.policies import PolicySource
from services.router.domain.policy_changes import PolicyCounts, PolicyDecisions
from services.router.domain.pool_owners import PoolOwner
from services.router.domain.ramps import Ramp
from services.router.domain.results import ObservedResult
from services.router.domain.source_checks import SourceChecks
from services.router.domain.standings import (
    ReputationPolicy,
    Standing,
    StandingChanged,
    StandingController,
    Subject,
    SubjectKind,
)
from services.router.domain.warmup import WarmupChanged, WarmupChangeKind
from services.router.domain.warmups import Warmups

COUNTS_INTERVAL_S = 1.0  # between saves of counts without a decision; a crash loses as much
COUNTS_MAX = 1_000  # tenants and sources whose counts are saved at once
RAISING = (
    WarmupChangeKind.STARTED,
    WarmupChangeKind.ADVANCED,
    WarmupChangeKind.RESUMED,
    WarmupChangeKind.FINISHED,
)


@dataclass(frozen=True, slots=True)
class AdaptivePolicyRules:
    """big_sites: with a warmup of their own. complaint_sites: those that report complaints.
    complaint_domain_sites: of these, those that know senders by a DKIM domain. policy: of tenants
    without one of their own. policy_of: that of a tenant; None: it has none. checks_required: a
    source must pass its self-checks before it sends. listing_weight_min: of a listing in a DNSBL
    with which a source sends nothing. default_ramp: of warmups without another one.
    campaign_allowance: of unassessed ones. static_sites: of static routes. owner_of: of a pool."""

    ramps: Mapping[str, Ramp] = field(default_factory=dict)
    feedback: Sequence[FeedbackRule] = ()
    big_sites: Collection[str] = ()
    complaint_sites: Collection[str] = ()
    complaint_domain_sites: Collection[str] = ()
    policy: ReputationPolicy = ReputationPolicy.STANDARD
    policy_of: Callable[[str], ReputationPolicy | None] = lambda _: None
    checks_required: bool = False
    listing_weight_min: float = SUSPENDING_WEIGHT
    default_ramp: str = ""
    campaign_allowance: int = FIRST_ALLOWANCE
    static_sites: Collection[str] = ()
    owner_of: Callable[[str], PoolOwner] = lambda _: PoolOwner()

    def check_site(self, scope: str) -> None:
        """Raises ValueError if the site of a scope that an operator names does not exist: a name
        without a dot is that of a provider, or of a static route."""
        kind, _, rest = scope.partition("/")
        site = rest if kind == ScopeKind.SITE else rest.partition("/")[2]
        of_site = (ScopeKind.SITE, ScopeKind.EGRESS_SITE, ScopeKind.TENANT_SITE)
        if kind not in of_site or "." in site:
            return
        if site not in {*self.big_sites, *self.static_sites}:
            known = ", ".join(sorted(self.big_sites))
            raise ValueError(
                f"there is no {kind} {rest[:80]!r}: the site is unknown. Use {known}, or the name"
                " of MX hosts with a dot, as `obm queues list` shows it."
            )


class AdaptivePolicies:
    """The warmups, overrides and standings of a cell."""

    def __init__(self, rules: AdaptivePolicyRules | None = None) -> None:
        rules = rules or AdaptivePolicyRules()
        self.warmups = Warmups(
            rules.ramps, big_sites=rules.big_sites, spreads=lambda one: one in self._alone
        )
        self.feedback = FeedbackController(rules.feedback)
        self.reputation = StandingController(
            reports_complaints=rules.complaint_sites.__contains__,
            policy_of=lambda tenant_id: rules.policy_of(tenant_id) or rules.policy,
        )
        self.limits = OperatorLimits()
        self.checks = SourceChecks(required=rules.checks_required)
        self.listings = SourceListings(weight_min=rules.listing_weight_min)
        self.campaigns = CampaignAssessments(rules.campaign_allowance)
        self._alone: frozenset[str] = frozenset()  # sources in warmup without a warm one beside
        self._pools: dict[str, list[str]] = {}
        self._sources: dict[str, EgressSource] = {}
        self._owner_of = rules.owner_of
        self._overflow_pools: Mapping[str, str] = {}
        self._events: list[Message] = []
        self._counts_saved_s = 0.0

    @property
    def sources(self) -> list[PolicySource]:
        return [
            *(self.warmups, self.feedback, self.reputation),
            *(self.listings, self.checks, self.limits, self.campaigns),
        ]

    # ── the state of the previous scheduler, and changes of the directory ───────────────────────

    def load(self, events: Iterable[PolicyEvent]) -> None:
        """The latest event of each subject. What only another version knows, a kind of scope or an
        action, does not keep this one from scheduling."""
        for event in events:
            with suppress(ValueError):
                self._load(event)

    def _load(self, event: PolicyEvent) -> None:
        match event.WhichOneof("event"):
            case "warmup_changed":
                self.warmups.load(policy_events.warmup_of(event.warmup_changed))
            case "override_set":
                override = policy_events.override_of(event.override_set)
                self.feedback.apply(OverrideApplied(override))
            case "limits_changed":
                self.limits.apply(policy_events.limits_of(event.limits_changed))
            case "standing_changed":
                changed = policy_events.standing_of(event.standing_changed)
                self.reputation.apply(changed)
            case "listing_changed":
                self.listings.apply(listing_events.listing_of(event.listing_changed))
            case "source_checked":
                self.checks.apply(policy_events.source_checked_of(event.source_checked))
            case "campaign_assessed":
                self.campaigns.apply(event.campaign_assessed)

    def restore_counts(self, saved: Iterable[PolicyCounts]) -> None:
        """After the events."""
        for subject, counts in saved:
            kind, _, rest = subject.partition("/")
            if kind in (ScopeKind.WARMUP, ScopeKind.EGRESS_SITE):
                egress_id, _, site = rest.partition("/")
                self.warmups.load_facts(egress_id, site, counts)
            else:
                self.reputation.restore_counts(Subject(SubjectKind(kind), rest), counts)

    def replace_sources(
        self, sources: Iterable[EgressSource], overflow_pools: Mapping[str, str] | None = None
    ) -> None:
        listed = list(sources)
        self._pools, self._overflow_pools = {}, overflow_pools or {}
        for one in listed:
            self._pools.setdefault(one.pool_id, []).append(one.egress_id)
        self._sources = {one.egress_id: one for one in listed}
        self.warmups.retain(self._sources.keys())
        self.listings.retain(self._sources.keys())
        self.checks.replace_sources(listed)
        self._find_alone()

    def _find_alone(self) -> None:
        is_limited = self.warmups.is_limited
        warming = {pool_id for pool_id, pool in self._pools.items() if all(map(is_limited, pool))}
        self._alone = frozenset(
            one
            for pool_id in warming
            if self._overflow_pools.get(pool_id) not in self._pools.keys() - warming
            for one in self._pools[pool_id]
        )

    # ── one tick ────────────────────────────────────────────────────────────────────────────────

    def observe(
        self, results: Iterable[Result], commands: Iterable[PolicyCommand] = (), *, now_s: float
    ) -> bool:
        """Decide by results and commands. True if a limit has risen or a suspension has ended;
        what an override restores by time, the scopes find out by themselves."""
        before = len(self._events)
        rises = [self._obey(one, now_s) for one in commands]
        seen = [one for each in results if (one := ObservedResult.of(each)).site != SANDBOX]
        if seen:
            self._add_host_failures(seen)
            attempts = [one for one in seen if one.kind == RESULT_KIND_ATTEMPT]
            # A bounce that arrives as mail was written by anybody: it is no reply of the site.
            self._add_overrides(self.feedback.record(attempts, now_s))
            self._add_standings(self.reputation.record(seen))
            self._add_warmups(self.warmups.record(seen))
        rises.append(self._add_warmups(self.warmups.decide(now_s)))
        if len(self._events) > before:
            self._find_alone()
        return any(rises)

    def drain(self, now_s: float, counts_max: int | None = COUNTS_MAX) -> PolicyDecisions:
        """What to save and publish since the last call. Without a decision, counts are saved once
        per second at most. counts_max: None: all of them are."""
        events, self._events = self._events, []
        if not (events or counts_max is None or now_s - self._counts_saved_s >= COUNTS_INTERVAL_S):
            return PolicyDecisions([], [])
        facts = self.warmups.drain_facts()
        saved = [PolicyCounts(policy_events.warmup_scope(*key).key, facts[key]) for key in facts]
        for subject, counts in self.reputation.drain_counts(counts_max).items():
            saved.append(PolicyCounts(policy_events.subject_key(subject), counts))
        if saved:
            self._counts_saved_s = now_s
        return PolicyDecisions(events, sorted(saved))

    def _obey(self, command: PolicyCommand, now_s: float) -> bool:
        """The command was checked when it was given; what no longer applies is ignored."""
        with suppress(ValueError):
            return self.execute(command, now_s)
        return False

    def knows_source_of(self, command: PolicyCommand) -> bool:
        """A source is added with the command that starts its warmup."""
        return not command.HasField("warmup") or command.warmup.egress_id in self._sources

    def execute(self, command: PolicyCommand, now_s: float) -> bool:
        """True if a limit has risen or a suspension has ended. Raises ValueError with the reason
        why the command does not apply."""
        rises = False
        match command.WhichOneof("command"):
            case "warmup":
                policy_events.warmup_scope(command.warmup.egress_id).check()
                rises = self._add_warmups(self.warmups.execute(command.warmup, now_s))
            case "set_override":
                self._set_override(policy_events.override_of(command.set_override))
            case "remove_override":
                removed = command.remove_override
                rises = self._remove(removed.override_id, removed.removed_by, now_s)
            case "set_limits":
                rises = self._set_limits(policy_events.limits_of(command.set_limits))
            case "resume_tenant_id":
                resumed = self.reputation.resume(command.resume_tenant_id, now_s)
                rises = self._add_standings([resumed])
            case "source_check":
                rises = self._add_check(command.source_check)
            case _:
                rises = self._learn_from(command)
        return rises

    def _learn_from(self, command: PolicyCommand) -> bool:
        """What other parts of the engine have found out."""
        if command.HasField("listing_check"):
            return self._add_listings(command.listing_check)
        changes = self.campaigns.apply(command.assess_campaign)
        self._events += [command.assess_campaign] * changes
        return changes

    def _set_limits(self, change: LimitsChanged) -> bool:
        change.check()
        self.limits.apply(change)
        self._events.append(policy_events.limits_event(change))
        return True

    def _add_check(self, found: SourceCheck) -> bool:
        """True if the source may send now, and could not before."""
        had_passed = self.checks.has_passed(found.egress_id)
        had_failed = bool(self.checks.host_problems(found.egress_id))
        if changed := self.checks.record(policy_events.check_result_of(found)):
            self._events.append(policy_events.source_checked(changed))
        rises = self.checks.has_passed(found.egress_id) and not had_passed
        return rises or (had_failed and not self.checks.host_problems(found.egress_id))

    def _add_listings(self, found: ListingCheck) -> bool:
        """True if a listing no longer suspends the source."""
        rises, at_s = False, unix_s(found.checked_at)
        for one in map(listing_events.found_of, found.listings):
            per_hour = self.feedback.rate_of_source(found.egress_id) if one.listed else 0
            listing = self.listings.record(found.egress_id, one, at_s=at_s, per_hour=per_hour)
            if listing:
                self._add_source_event(listing_events.listing_changed(listing))
                rises = rises or not (listing.listed and listing.suspends)
        return rises

    def _add_host_failures(self, results: Iterable[ObservedResult]) -> None:
        for one in results:
            if one.outcome == ATTEMPT_OUTCOME_EGRESS_FAILED:
                changed = self.checks.record_host_failure(one.egress_id, at_s=one.answered_s)
                if changed:
                    self._events.append(policy_events.source_checked(changed))

    def _set_override(self, override: Override) -> None:
        override.check()
        if override.scope.kind not in self.feedback.kinds:
            raise ValueError(f"a scope of kind {override.scope.kind} takes no override.")
        event = OverrideApplied(override)
        self.feedback.apply(event)
        self._add_overrides([event])

    def _remove(self, override_id: str, removed_by: str, now_s: float) -> bool:
        try:
            removed = self.feedback.remove(override_id, removed_by=removed_by, now_s=now_s)
        except KeyError as error:
            raise ValueError(f"no override {override_id} is in force.") from error
        self._add_overrides([removed])
        return True

    def _add_warmups(self, events: Iterable[WarmupChanged]) -> bool:
        rises = False
        for event in events:
            state = self.warmups.state_of(event.egress_id, event.site)
            if state:
                self._add_source_event(policy_events.warmup_changed(event, state))
            rises = rises or event.change in RAISING
        return rises

    def _add_source_event(self, event: pb.WarmupChanged | pb.ListingChanged) -> None:
        if source := self._sources.get(event.egress_id):
            owner = self._owner_of(source.pool_id)
            policy_events.set_source(event, source, owner)
        self._events.append(event)

    def _add_overrides(self, events: Iterable[OverrideEvent]) -> None:
        self._events += map(policy_events.override_event, events)

    def _add_standings(self, events: Iterable[StandingChanged]) -> bool:
        listed = list(events)
        self._events += map(policy_events.standing_changed, listed)
        return any(one.standing is Standing.GOOD for one in listed)
