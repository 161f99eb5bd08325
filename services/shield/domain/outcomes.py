"""Learning, as a fold over the records of outcomes: facts in, events out."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.shield.v1.learning_pb2 import (
    CAMPAIGN_OUTCOME_KIND_BLOCKED,
    CAMPAIGN_OUTCOME_KIND_BOUNCED,
    CAMPAIGN_OUTCOME_KIND_COMPLAINED,
    CAMPAIGN_OUTCOME_KIND_DELIVERED,
    CAMPAIGN_OUTCOME_KIND_UNSUBSCRIBED,
    CampaignAssessed,
    CampaignOpened,
    CampaignOutcome,
    CampaignOutcomeKind,
    CampaignReviewed,
    ModelPublished,
    ModelVersionChanged,
    OutcomeRecorded,
    OutcomesCounted,
    VersionReviewed,
)
from services.shield.domain.learning import facts
from services.shield.domain.learning.campaign import RAMP, CampaignRamp, unsubscribes_of
from services.shield.domain.learning.canaries import read_canaries
from services.shield.domain.learning.deltas import DeltaBounds
from services.shield.domain.learning.entries import PackedEntriesError
from services.shield.domain.learning.facts import (
    UNLIMITED,
    CampaignStarted,
    Fact,
    MessageOutcome,
    OutcomeKind,
)
from services.shield.domain.learning.learner import Learner
from services.shield.domain.learning.reports import DAY_S
from services.shield.domain.learning.rollout import RolloutPlan, VersionRollout
from services.shield.domain.learning.state import LearnerState, LearnerStateError, restore
from services.shield.domain.learning.versions import CanaryCheck
from services.shield.domain.model.file import load_model

# Records that are told again, as after a crash, are told soon.
KNOWN_MAX = 50_000
KNOWN = Struct("<I")  # bytes of the ids of known records
KINDS: Mapping[CampaignOutcomeKind.ValueType, OutcomeKind] = {
    CAMPAIGN_OUTCOME_KIND_DELIVERED: OutcomeKind.DELIVERED,
    CAMPAIGN_OUTCOME_KIND_BLOCKED: OutcomeKind.SPAM_BLOCKED,
    CAMPAIGN_OUTCOME_KIND_COMPLAINED: OutcomeKind.COMPLAINED,
    CAMPAIGN_OUTCOME_KIND_UNSUBSCRIBED: OutcomeKind.UNSUBSCRIBED,
    CAMPAIGN_OUTCOME_KIND_BOUNCED: OutcomeKind.BOUNCED,
}


class PackedVersion(NamedTuple):
    """A version with its packed tables."""

    published: ModelPublished
    packed: bytes


Event: TypeAlias = CampaignAssessed | PackedVersion | ModelVersionChanged


class LearningConfig(NamedTuple):
    """What learning starts from. is_enforced: what it decides is to be heeded. shadow_s: how long a
    version scores beside the live one before it is used."""

    baseline: CanaryCheck
    is_enforced: bool = False
    ramp: CampaignRamp = RAMP
    shadow_s: float = DAY_S

    @property
    def plan(self) -> RolloutPlan:
        return RolloutPlan(self.shadow_s, self.is_enforced)


class OutcomeFold:
    """The learner, and the records that it knows."""

    def __init__(self, policy: LearningConfig, state: LearnerState | None = None) -> None:
        self.learner = Learner(policy.baseline, state, policy.ramp, plan=policy.plan)
        self._policy = policy
        self._known: OrderedDict[str, None] = OrderedDict()
        self.touched: set[str] = set()  # campaigns with new outcomes

    @property
    def next_offset(self) -> int:
        """Of the first record that it does not know."""
        return self.learner.state.progress.offset + 1

    @property
    def rollout(self) -> VersionRollout:
        return self.learner.state.rollout

    def apply(self, event: OutcomeRecorded, offset: int) -> list[Event]:
        """What follows from a record. One that was told before, or that says nothing, changes
        nothing."""
        if event.outcome_id in self._known or not (found := list(facts_of(event))):
            return []
        try:
            decisions = self.learner.apply(found, offset)
        except PackedEntriesError:
            return []
        self._remember(event.outcome_id)
        self.touched.update(
            one.campaign_id for one in found if isinstance(one, MessageOutcome | CampaignStarted)
        )
        return [self._event(one, offset) for one in decisions]

    def _remember(self, outcome_id: str) -> None:
        self._known[outcome_id] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def _event(self, decision: facts.Decision, offset: int) -> Event:
        match decision:
            case facts.VersionPublished():
                return PackedVersion(published_event(decision, self._policy), decision.packed)
            case facts.VersionChanged():
                return changed_event(decision)
        return assessed_event(decision, offset, is_enforced=self._policy.is_enforced)

    def current(self, campaign_id: str) -> tuple[int, float, float] | None:
        """What a campaign has delivered, and its complaints and unsubscribes as their reporters
        were weighed."""
        state = self.learner.state
        opened = state.campaigns.get(campaign_id) or state.ended.get(campaign_id)
        if opened is None:
            return None
        found = opened.aggregate
        return found.delivered, found.complaints / 1_000, unsubscribes_of(found)

    def snapshot(self) -> bytes:
        """The same for the same records."""
        known = "\n".join(self._known).encode()
        return KNOWN.pack(len(known)) + known + self.learner.state.snapshot()

    @classmethod
    def restore(cls, policy: "LearningConfig", packed: bytes) -> "OutcomeFold":
        """Raises LearnerStateError."""
        if len(packed) < KNOWN.size:
            raise LearnerStateError("no snapshot")
        end = KNOWN.size + KNOWN.unpack_from(packed)[0]
        state = restore(packed[end:], DeltaBounds.of(policy.baseline.points_per_margin))
        fold = cls(policy, state)
        fold._known.update(dict.fromkeys(packed[KNOWN.size : end].decode().split("\n")))
        return fold


def read_baseline(packed: bytes) -> CanaryCheck:
    """packed: a model file. Raises ModelError."""
    return CanaryCheck.of(load_model(packed), read_canaries(packed))


def restore_or_start(policy: LearningConfig, packed: bytes) -> OutcomeFold:
    """packed: a snapshot. Without one, and with one of other code, all outcomes are read again."""
    try:
        return OutcomeFold.restore(policy, packed)
    except LearnerStateError:
        return OutcomeFold(policy)


def facts_of(event: OutcomeRecorded) -> Sequence[Fact]:
    at_s = seconds(event.recorded_at)
    match event.WhichOneof("outcome"):
        case "opened":
            return [started(event.opened, at_s)]
        case "counted":
            return list(outcomes_of(event.counted))
        case "reviewed":
            return [review_of(event.reviewed, at_s)]
        case "version_reviewed":
            return [version_review_of(event.version_reviewed, at_s)]
    return []


def started(opened: CampaignOpened, at_s: float) -> CampaignStarted:
    return CampaignStarted(
        opened.campaign_id,
        opened.tenant_id,
        opened.margin,
        opened.entries,
        tuple(opened.traces),
        at_s,
    )


def review_of(reviewed: CampaignReviewed, at_s: float) -> MessageOutcome:
    return MessageOutcome(
        message_id=reviewed.message_id,
        tenant_id=reviewed.tenant_id,
        campaign_id=reviewed.campaign_id,
        kind=OutcomeKind.REVIEWED_GOOD if reviewed.good else OutcomeKind.REVIEWED_BAD,
        recipient_digest=b"",
        recipient_domain="",
        at_large_mailbox=False,
        occurred_at_s=at_s,
    )


def version_review_of(reviewed: VersionReviewed, at_s: float) -> facts.VersionReviewed:
    return facts.VersionReviewed(
        reviewed.version,
        promotes=reviewed.promoted,
        reviewer=reviewed.reviewed_by,
        reason=reviewed.reason,
        occurred_at_s=at_s,
    )


def outcomes_of(counted: OutcomesCounted) -> Iterable[MessageOutcome]:
    at_s = seconds(counted.counted_at)
    for one in counted.outcomes:
        if kind := KINDS.get(one.kind):
            yield outcome_of(one, kind, counted.first, at_s=at_s)


def outcome_of(
    one: CampaignOutcome, kind: OutcomeKind, message_id: str, *, at_s: float
) -> MessageOutcome:
    return MessageOutcome(
        message_id=message_id,
        tenant_id=one.tenant_id,
        campaign_id=one.campaign_id,
        kind=kind,
        recipient_digest=one.recipient,
        recipient_domain=one.domain,
        at_large_mailbox=one.large_mailbox,
        occurred_at_s=at_s,
        count=one.count,
    )


def assessed_event(
    decision: facts.CampaignAssessed, offset: int, *, is_enforced: bool
) -> CampaignAssessed:
    return CampaignAssessed(
        campaign_id=decision.campaign_id,
        version=offset + 1,
        tenant_id=decision.tenant_id,
        change=decision.change,
        delivered=decision.delivered,
        complaints=decision.complaints,
        evidence=decision.evidence,
        allowed=limit_of(decision.allowed),
        next_allowed=limit_of(decision.next_allowed),
        next_at=timestamp(decision.next_at_s) if decision.next_at_s else None,
        assessed_at=timestamp(decision.at_s),
        reviewed=decision.reviewed,
        enforced=is_enforced,
    )


def published_event(decision: facts.VersionPublished, policy: LearningConfig) -> ModelPublished:
    return ModelPublished(
        version=decision.version,
        model_version=policy.baseline.model,
        offset=decision.offset + 1,
        campaigns=decision.campaigns,
        hold=decision.hold,
        published_at=timestamp(decision.at_s),
        auc=decision.auc,
        fpr=decision.fpr,
        enforced=policy.is_enforced,
        due_at=timestamp(decision.at_s + policy.shadow_s) if policy.is_enforced else None,
    )


def changed_event(decision: facts.VersionChanged) -> ModelVersionChanged:
    review = decision.review
    return ModelVersionChanged(
        version=decision.version,
        offset=decision.offset + 1,
        change=decision.change,
        live_version=decision.live,
        shadow_version=decision.shadow,
        changed_at=timestamp(decision.at_s),
        reviewed_by=review.reviewer if review else "",
        reason=review.reason if review else "",
    )


def limit_of(allowed: int) -> int:
    """0: no limit."""
    return allowed if allowed < UNLIMITED else 0


def timestamp(at_s: float) -> Timestamp:
    whole, micros = divmod(round(at_s * 1e6), 1_000_000)
    return Timestamp(seconds=whole, nanos=micros * 1000)


def seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
