"""Bring what learning reads into one order: that of the topic of outcomes."""

from collections.abc import Sequence
from typing import TypeAlias

from contracts.router.v1.events_pb2 import (
    REVIEW_RELEASED,
    CampaignsCounted,
    HeldMessageReviewed,
)
from contracts.shield.v1.learning_pb2 import CampaignReviewed, OutcomeRecorded, OutcomesCounted
from kernel.handler_result import Drop, Emit, HandlerResult

Heard: TypeAlias = CampaignsCounted | HeldMessageReviewed


async def on_outcome(batch: Sequence[Heard]) -> list[HandlerResult]:
    """What became of the mail of campaigns, and what reviewers say of it."""
    return [counted(one) if isinstance(one, CampaignsCounted) else reviewed(one) for one in batch]


def counted(event: CampaignsCounted) -> HandlerResult:
    found = OutcomesCounted(first=event.first, counted_at=event.counted_at, outcomes=event.outcomes)
    return Emit(
        OutcomeRecorded(
            outcome_id=f"counted/{event.first}", recorded_at=event.counted_at, counted=found
        )
    )


def reviewed(event: HeldMessageReviewed) -> HandlerResult:
    context = event.context
    if not context.campaign_id:
        return Drop("no_campaign")
    review = CampaignReviewed(
        campaign_id=context.campaign_id,
        tenant_id=context.tenant_id,
        message_id=event.message_id,
        good=event.review == REVIEW_RELEASED,
    )
    return Emit(
        OutcomeRecorded(
            outcome_id=f"reviewed/{event.message_id}/{event.version}",
            recorded_at=event.reviewed_at,
            reviewed=review,
        )
    )
