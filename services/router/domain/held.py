"""Held messages: which of them a filter finds, and what a review makes of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from google.protobuf.message import DecodeError

from contracts.router.v1.events_pb2 import (
    REVIEW_REJECTED,
    REVIEW_RELEASED,
    HeldMessageReviewed,
    MessageClosed,
    Review,
    Reviewer,
)
from contracts.shield.v1.events_pb2 import MessageScreened
from mail.address import domain_of
from services.router.domain.events import (
    ClosedRow,
    message_closed,
    parse_context_or_empty,
    timestamp,
)
from services.router.domain.message import MessageRowState

REJECTED = "rejected"  # the reason of a rejected message
STATES: Mapping[Review.ValueType, MessageRowState] = MappingProxyType(
    {REVIEW_RELEASED: MessageRowState.QUEUED, REVIEW_REJECTED: MessageRowState.FAILED}
)


class HeldMessage(NamedTuple):
    """context, screening: serialized. screening: empty if shield did not hold it, or before there
    was this column."""

    message_id: str
    context: bytes
    screening: bytes
    held_s: float
    expires_s: float
    reason: str

    @property
    def rules(self) -> frozenset[str]:
        """Those that matched."""
        named = self.reason.partition(": ")[2].split(", ")
        return frozenset((*named, *(one.rule for one in parse_screening(self.screening).reasons)))


class HeldFilter(NamedTuple):
    """Every part that is set must match. rule: of one of the reasons. sender: an address, or a
    domain. campaign_id: of the message, whatever it is held for."""

    rule: str = ""
    recipient_domain: str = ""
    sender: str = ""
    score_from: float | None = None
    score_below: float | None = None
    campaign_id: str = ""

    def matches(self, held: HeldMessage) -> bool:
        context = parse_context_or_empty(held.context)
        score = parse_screening(held.screening).score
        return (
            self.campaign_id in ("", context.campaign_id)
            and self.recipient_domain in ("", domain_of(context.recipient))
            and self._is_sender(context.sender.lower())
            and (self.score_from is None or score >= self.score_from)
            and (self.score_below is None or score < self.score_below)
            and (not self.rule or self.rule in held.rules)
        )

    def _is_sender(self, sender: str) -> bool:
        return self.sender in ("", sender, domain_of(sender))


class ReviewedMessage(NamedTuple):
    """A row after its review, at `row.closed_s`, which closed it only if it was rejected."""

    row: ClosedRow
    due_s: float
    held_s: float
    screening: bytes


def screening_of(event: MessageScreened) -> bytes:
    """What is stored of the event of a held message: its context is stored anyway."""
    stored = MessageScreened()
    stored.CopyFrom(event)
    for name in ("message_id", "priority", "context"):
        stored.ClearField(name)
    return stored.SerializeToString()


def parse_screening(screening: bytes) -> MessageScreened:
    """Empty if it cannot be parsed: the message can still be reviewed."""
    try:
        return MessageScreened.FromString(screening)
    except DecodeError:
        return MessageScreened()


def events_of_review(
    reviewed: ReviewedMessage, *, reason: str, reviewer: Reviewer
) -> list[HeldMessageReviewed | MessageClosed]:
    """The review, and the close of a rejected message."""
    row, screening = reviewed.row, parse_screening(reviewed.screening)
    is_released, reviewed_at = row.state == MessageRowState.QUEUED, timestamp(row.closed_s)
    event = HeldMessageReviewed(
        message_id=row.message_id,
        context=parse_context_or_empty(row.context),
        review=REVIEW_RELEASED if is_released else REVIEW_REJECTED,
        reason=reason,
        reviewer=reviewer,
        reviewed_at=reviewed_at,
        version=reviewed_at.ToMicroseconds(),
        held_at=timestamp(reviewed.held_s) if reviewed.held_s else None,
        score=screening.score,
        rules=[one.rule for one in screening.reasons],
        rules_version=screening.rules_version,
        model_version=screening.model_version,
    )
    return [event] if is_released else [event, message_closed(row)]
