"""Learning: a fold over facts in the order of their offsets.

The same facts with the same offsets give the same state, hence the same digest, in any process, and
wherever it was stored in between (`LearnerState.snapshot`). The only clock is that of the facts.
"""

from collections.abc import Iterator, Sequence
from math import log

from services.shield.domain.learning import campaign as campaigns
from services.shield.domain.learning.deltas import EVIDENCE_MAX, DeltaBounds
from services.shield.domain.learning.entries import unpack_entries
from services.shield.domain.learning.facts import (
    AssessmentChange,
    CampaignAssessed,
    CampaignStarted,
    Decision,
    Fact,
    MessageOutcome,
    OutcomeKind,
    VersionChanged,
    VersionChangeKind,
    VersionPublished,
    VersionReviewed,
)
from services.shield.domain.learning.reports import DAY_S, FULL
from services.shield.domain.learning.rollout import RolloutPlan
from services.shield.domain.learning.state import NOTHING_LEARNED, LearnerState, OpenCampaign
from services.shield.domain.learning.tenants import is_trusted, log_odds, weight
from services.shield.domain.learning.versions import CanaryCheck, pack_version, propose

END_S = 3 * DAY_S  # without an outcome: complaints come within two days
FORGET_S = 30 * DAY_S
CAMPAIGNS_MAX = 10_000  # open ones, and as many that have ended
ENDED_PER_CALL = 20
CONTENT_PRIOR_MAX = 2.0
ENOUGH = 1_000  # deliveries, below which a campaign in doubt teaches nothing
# What complaints that hold a campaign add to the log odds of its content: 98 % of abuse is held by
# them, and up to 1.8 % of good mail, by false ones.
HELD_BY_COMPLAINTS = log(0.98 / 0.018)
PUBLISH_CAMPAIGNS, PUBLISH_S = 200, DAY_S

REPORTS = frozenset({OutcomeKind.SPAM_BLOCKED, OutcomeKind.COMPLAINED, OutcomeKind.UNSUBSCRIBED})
REVIEWS = frozenset({OutcomeKind.REVIEWED_GOOD, OutcomeKind.REVIEWED_BAD})


class Learner:
    """baseline: of the model in use. state: None to start from nothing. plan: of new versions."""

    def __init__(
        self,
        baseline: CanaryCheck,
        state: LearnerState | None = None,
        ramp: campaigns.CampaignRamp = campaigns.RAMP,
        *,
        plan: RolloutPlan = RolloutPlan(),  # noqa: B008 - immutable
    ) -> None:
        self.ramp = ramp
        self.plan = plan
        self.baseline = baseline
        self.state = state or LearnerState(DeltaBounds.of(baseline.points_per_margin))
        self.state.rollout.drop_others(baseline.model)

    def apply(self, facts: Sequence[Fact], offset: int) -> list[Decision]:
        """What follows from the facts of a record: of each campaign the latest event, and a version
        if it is time. Facts that have been applied change nothing. Raises PackedEntriesError,
        before anything has changed."""
        progress = self.state.progress
        if offset <= progress.offset:
            return []
        for fact in facts:
            if isinstance(fact, CampaignStarted):
                unpack_entries(fact.entries)
        progress.offset = offset
        events = [event for fact in facts for event in self.apply_one(fact)]
        events += self.end_idle()
        assessed = {each.campaign_id: each for each in events}.values()
        return [*assessed, *self.review(facts), *self.promote(), *self.publish()]

    def apply_one(self, fact: Fact) -> list[CampaignAssessed]:
        self.state.progress.clock_s = max(self.state.progress.clock_s, fact.occurred_at_s)
        if isinstance(fact, CampaignStarted):
            return self.start(fact)
        opened = self.reopen(fact) if isinstance(fact, MessageOutcome) else None
        return self.add(opened, fact) if opened and isinstance(fact, MessageOutcome) else []

    def start(self, fact: CampaignStarted) -> list[CampaignAssessed]:
        state = self.state
        if fact.campaign_id in state.campaigns or fact.campaign_id in state.ended:
            return []
        record = state.tenant(fact.tenant_id)
        content = max(-CONTENT_PRIOR_MAX, min(CONTENT_PRIOR_MAX, fact.margin / 2))
        event = campaigns.start(
            fact.campaign_id,
            fact.tenant_id,
            prior=log_odds(record) + content + state.suspicion(fact.traces),
            trusted=is_trusted(record),
            now_s=fact.occurred_at_s,
            ramp=self.ramp,
        )
        new = campaigns.evolve(campaigns.CampaignState(fact.campaign_id, fact.tenant_id), event)
        state.campaigns[fact.campaign_id] = OpenCampaign(new, fact, fact.occurred_at_s)
        return [event]

    def reopen(self, outcome: MessageOutcome) -> OpenCampaign | None:
        """The campaign, now the one that was idle for the shortest time; None if it is unknown."""
        state, campaign_id = self.state, outcome.campaign_id
        opened = state.campaigns.pop(campaign_id, None) or state.ended.pop(campaign_id, None)
        if opened:
            opened.last_s = max(opened.last_s, outcome.occurred_at_s)
            state.campaigns[campaign_id] = opened
        return opened

    def add(self, opened: OpenCampaign, outcome: MessageOutcome) -> list[CampaignAssessed]:
        before, now_s = opened.aggregate, outcome.occurred_at_s
        if outcome.kind in REVIEWS:
            good = outcome.kind is OutcomeKind.REVIEWED_GOOD
            return self.take(opened, [campaigns.review(before, good=good, now_s=now_s)])
        counts = self.state.reports.weight(outcome) if outcome.kind in REPORTS else FULL
        opened.aggregate = campaigns.count(before, outcome.kind, counts, times=outcome.count)
        self.state.add_mail(before, opened.aggregate)
        return self.take(opened, campaigns.decide(opened.aggregate, now_s, self.ramp))

    def take(
        self, opened: OpenCampaign, events: Sequence[CampaignAssessed]
    ) -> list[CampaignAssessed]:
        """Apply the events, and learn from what they decide."""
        for event in events:
            opened.aggregate = campaigns.evolve(opened.aggregate, event)
            if event.change in (AssessmentChange.HELD, AssessmentChange.RELEASED):
                self.conclude(opened, event)
        return list(events)

    def conclude(self, opened: OpenCampaign, event: CampaignAssessed) -> None:
        """Learn from a decision, once, and again from a reviewer who is surer of it."""
        held, evidence = event.change is AssessmentChange.HELD, -EVIDENCE_MAX
        if held:
            evidence = EVIDENCE_MAX if event.reviewed else complaints_teach(opened.fact.margin)
        is_new = event.change != opened.learned
        if not is_new and evidence <= opened.taught:
            return
        opened.learned, opened.taught = event.change, evidence
        if evidence:
            self.learn(opened.fact, evidence)
        if is_new:
            self.state.note(opened.fact, held=held)

    def learn(self, fact: CampaignStarted, evidence: float) -> None:
        state, progress = self.state, self.state.progress
        state.deltas.train(
            unpack_entries(fact.entries),
            tenant_id=fact.tenant_id,
            margin=fact.margin,
            evidence=evidence,
            weight=weight(state.tenant(fact.tenant_id)),
        )
        progress.learned += 1

    def end_idle(self) -> list[CampaignAssessed]:
        """End what had no outcome for long, and forget what has ended: a few campaigns per call."""
        state, events = self.state, []
        for opened in self.over(END_S, ended=False):
            del state.campaigns[opened.fact.campaign_id]
            events += self.take(opened, campaigns.close(opened.aggregate, state.progress.clock_s))
            self.learn_from_doubt(opened)
            state.ended[opened.fact.campaign_id] = opened
        for opened in self.over(FORGET_S, ended=True):
            del state.ended[opened.fact.campaign_id]
        return events

    def learn_from_doubt(self, opened: OpenCampaign) -> None:
        """A campaign that has ended between the bounds teaches a little."""
        evidence = opened.aggregate.evidence / campaigns.MILLION
        evidence = min(evidence, complaints_teach(opened.fact.margin))
        if opened.learned is NOTHING_LEARNED and opened.aggregate.delivered >= ENOUGH:
            opened.learned = AssessmentChange.PACED
            self.learn(opened.fact, evidence)

    def over(self, idle_s: float, *, ended: bool) -> Iterator[OpenCampaign]:
        """The first campaign again and again, until it is one to be kept."""
        kept = self.state.ended if ended else self.state.campaigns
        for _ in range(ENDED_PER_CALL):
            opened = next(iter(kept.values()), None)
            if opened is None:
                return
            idle = self.state.progress.clock_s - opened.last_s > idle_s
            if not (idle or len(kept) > CAMPAIGNS_MAX):
                return
            yield opened

    def review(self, facts: Sequence[Fact]) -> list[VersionChanged]:
        """What persons decide about versions. A decision that comes too late changes nothing."""
        rollout, changes = self.state.rollout, []
        for fact in facts:
            if not isinstance(fact, VersionReviewed):
                continue
            if fact.promotes and rollout.promote(fact.version):
                changes.append(self.changed(fact.version, VersionChangeKind.PROMOTED, fact))
            elif not fact.promotes and rollout.withdraw(fact.version):
                changes.append(self.changed(fact.version, VersionChangeKind.WITHDRAWN, fact))
        return changes

    def promote(self) -> list[VersionChanged]:
        """Use the version that has scored beside the live one for long enough."""
        rollout, now_s = self.state.rollout, self.state.progress.clock_s
        version = rollout.shadow
        if not (self.plan.promotes and version and rollout.is_due(self.plan, now_s)):
            return []
        rollout.promote(version)
        return [self.changed(version, VersionChangeKind.PROMOTED)]

    def changed(
        self, version: str, change: VersionChangeKind, review: VersionReviewed | None = None
    ) -> VersionChanged:
        rollout, progress = self.state.rollout, self.state.progress
        return VersionChanged(
            version, change, rollout.live, rollout.shadow, progress.offset, progress.clock_s, review
        )

    def publish(self) -> list[VersionPublished]:
        """A version once a day, or when much was learned, if it is as good on the canaries. The one
        before must have been compared."""
        progress, rollout = self.state.progress, self.state.rollout
        if not rollout.is_due(self.plan, progress.clock_s):
            return []
        progress.published_at_s = progress.published_at_s or progress.clock_s
        new = progress.learned - progress.published
        late = new > 0 and progress.clock_s - progress.published_at_s >= PUBLISH_S
        if not (late or new >= PUBLISH_CAMPAIGNS):
            return []
        progress.published, progress.published_at_s = progress.learned, progress.clock_s
        version, found = propose(self.baseline, self.state.deltas)
        if version.version in rollout.usable or not self.baseline.is_as_good(found):
            return []
        rollout.publish(version.version, progress.clock_s)
        return [
            VersionPublished(
                version=version.version,
                packed=pack_version(version),
                hold=version.hold,
                block=version.block,
                offset=progress.offset,
                at_s=progress.clock_s,
                campaigns=progress.learned,
                auc=found.auc,
                fpr=found.fpr,
            )
        ]


def complaints_teach(margin: float) -> float:
    """The most that complaints about a campaign can teach, as log odds of abuse. They may be false:
    about mail that is good beyond doubt, by its content, they teach nothing, although they hold it.

    margin: without what was learned.
    """
    return max(0.0, min(EVIDENCE_MAX, HELD_BY_COMPLAINTS + margin))
