"""Campaigns, which are near-identical mail of a tenant: how many of their messages may leave, as
shield judges by what became of the first ones; and what became of them, for shield."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
)
from contracts.events.v1.events_pb2 import RecipientUnsubscribed
from contracts.router.v1.events_pb2 import CampaignsCounted
from contracts.shield.v1.events_pb2 import VERDICT_HOLD, MessageScreened, ScoreReason
from contracts.shield.v1.learning_pb2 import (
    CAMPAIGN_OUTCOME_KIND_BLOCKED,
    CAMPAIGN_OUTCOME_KIND_BOUNCED,
    CAMPAIGN_OUTCOME_KIND_COMPLAINED,
    CAMPAIGN_OUTCOME_KIND_DELIVERED,
    CAMPAIGN_OUTCOME_KIND_UNSUBSCRIBED,
    CampaignAssessed,
    CampaignOutcome,
    CampaignOutcomeKind,
)
from kernel.bounded_dict import BoundedDict
from mail.address import domain_of
from services.router.domain.events import timestamp, unix_s
from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.message import ScheduledQueue
from services.router.domain.results import LastAssignment
from services.router.domain.shaping import provider_sites

FIRST_ALLOWANCE = 2_000  # of a campaign that is not judged yet
ASSESSED_MAX = 50_000
HELD, RELEASED = "held", "released"
REASON_OF_CAMPAIGNS = "held: campaign "  # begins the reason of a message; its id follows
RULE = "campaign"  # of the reason of a message that is held for its campaign
SPAM_BLOCK = "spam_block"  # a bounce class
OUTCOMES_MAX = 500  # in an event, which must stay under 64 KiB
Report: TypeAlias = BounceReceived | ComplaintReceived | RecipientUnsubscribed
KINDS: Mapping[type[Report], CampaignOutcomeKind.ValueType] = {
    BounceReceived: CAMPAIGN_OUTCOME_KIND_BOUNCED,
    ComplaintReceived: CAMPAIGN_OUTCOME_KIND_COMPLAINED,
    RecipientUnsubscribed: CAMPAIGN_OUTCOME_KIND_UNSUBSCRIBED,
}


class CampaignAssessments:
    """The latest assessment of each campaign, and the policy source of their allowances.

    first_allowance: of a campaign without an assessment. One of a small campaign says
    nothing else, so it is not kept.
    """

    kinds = (ScopeKind.CAMPAIGN,)
    reason = ""

    def __init__(self, first_allowance: int = FIRST_ALLOWANCE) -> None:
        self._first_allowance = first_allowance
        self._assessed: BoundedDict[str, CampaignAssessed] = BoundedDict(ASSESSED_MAX)
        # Tenants of campaigns that a person has released: some of their mail may be held.
        self.to_release: BoundedDict[str, str] = BoundedDict(ASSESSED_MAX)

    def apply(self, event: CampaignAssessed) -> bool:
        """False if it changes nothing: an old one, or one that is not to be enforced."""
        known = self._assessed.get(event.campaign_id)
        if known and known.version >= event.version:
            return False
        if not event.enforced or (known is None and self._is_default(event)):
            return False
        self._assessed[event.campaign_id] = event
        self.to_release.pop(event.campaign_id, None)
        if event.change == RELEASED and event.reviewed:
            self.to_release[event.campaign_id] = event.tenant_id
        return True

    def _is_default(self, event: CampaignAssessed) -> bool:
        if event.change == HELD or event.reviewed:
            return False
        is_small = 2 * event.delivered < self._first_allowance
        return is_small and event.allowed in {0, self._first_allowance}

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits:
        """What is held has no allowance: it leaves its queue to wait for a review."""
        if (event := self._assessed.get(scope.id)) is None:
            return Limits(allowance=self._first_allowance)
        if event.change == HELD:
            return NO_LIMITS
        due = event.HasField("next_at") and now_s >= unix_s(event.next_at)
        return Limits(allowance=event.next_allowed if due else event.allowed)

    def suspension_of(self, _: LimitScope, __: float) -> Suspension | None:
        return None

    def held(self, campaign_id: str) -> CampaignAssessed | None:
        """The assessment, if mail of the campaign is held."""
        event = self._assessed.get(campaign_id) if campaign_id else None
        return event if event and event.change == HELD else None


def beginning_of_reason(campaign_id: str) -> str:
    return f"{REASON_OF_CAMPAIGNS}{campaign_id}: "


def screening_of_campaign(reason: str) -> bytes:
    """What reviewers see of a message that is held for its campaign."""
    reason_of_campaign = ScoreReason(
        rule=RULE,
        detail=reason.removeprefix("held: "),
        explanation="Too many recipients of similar mail have complained.",
        advice="Send to those who have asked for it. If you did, have this message released.",
    )
    return MessageScreened(verdict=VERDICT_HOLD, reasons=[reason_of_campaign]).SerializeToString()


def hold_reason(event: CampaignAssessed) -> str:
    return (
        f"{beginning_of_reason(event.campaign_id)}{event.complaints:.3g} complaints"
        f" of {event.delivered} delivered (evidence {event.evidence:.1f})"
    )


def count_attempts(applied: Iterable[DeliveryAttempted]) -> list[CampaignsCounted]:
    """What attempts that ended decide about campaigns: at most one event in most batches."""
    counted: dict[tuple[str, str, CampaignOutcomeKind.ValueType], int] = {}
    first: DeliveryAttempted | None = None
    for event in applied:
        if not event.campaign_id or event.test:
            continue
        if event.outcome == ATTEMPT_OUTCOME_DELIVERED:
            kind = CAMPAIGN_OUTCOME_KIND_DELIVERED
        elif event.outcome == ATTEMPT_OUTCOME_PERMANENT and event.bounce_class == SPAM_BLOCK:
            kind = CAMPAIGN_OUTCOME_KIND_BLOCKED
        else:
            continue
        first = first or event
        key = event.campaign_id, event.tenant_id, kind
        counted[key] = counted.get(key, 0) + 1
    if first is None:
        return []
    outcomes = [
        CampaignOutcome(campaign_id=campaign_id, tenant_id=tenant_id, kind=kind, count=number)
        for (campaign_id, tenant_id, kind), number in counted.items()
    ]
    at_s = unix_s(first.attempted_at)
    return events_of(f"{first.message_id}/{first.attempt}", outcomes, at_s=at_s)


def count_report(event: Report, sent: LastAssignment, recipient: bytes) -> list[CampaignsCounted]:
    """recipient: hash of the address."""
    if not sent.campaign_id:
        return []
    outcome = CampaignOutcome(
        campaign_id=sent.campaign_id,
        tenant_id=event.tenant_id,
        kind=KINDS[type(event)],
        count=1,
        recipient=recipient,
        domain=domain_of(event.recipient),
        large_mailbox=ScheduledQueue.of(sent.queue_id).site in provider_sites(),
    )
    moment = (
        event.unsubscribed_at if isinstance(event, RecipientUnsubscribed) else event.received_at
    )
    first = f"{event.message_id}/{CampaignOutcomeKind.Name(outcome.kind)}"
    return events_of(first, [outcome], at_s=unix_s(moment))


def events_of(
    first: str, outcomes: Sequence[CampaignOutcome], *, at_s: float
) -> list[CampaignsCounted]:
    return [
        CampaignsCounted(
            first=f"{first}/{start}" if start else first,
            counted_at=timestamp(at_s),
            outcomes=outcomes[start : start + OUTCOMES_MAX],
        )
        for start in range(0, len(outcomes), OUTCOMES_MAX)
    ]
