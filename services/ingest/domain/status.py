"""Where an email stands, in the one word that Resend's clients know, from all its recipients."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

SCHEDULED, QUEUED, SENT, DELAYED = "scheduled", "queued", "sent", "delivery_delayed"
# What is open decides; then the worst of what is final.
WORST_FIRST = (
    DELAYED, SENT, QUEUED, SCHEDULED, "bounced", "failed", "suppressed", "canceled", "delivered",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """Of one recipient. state: the router's word for it; empty when it could not be asked."""

    state: str
    tries: int
    due_at: datetime | None


def last_event(states: Sequence[State], *, now: datetime) -> str:
    """queued when nothing is known."""
    found = {_word(state, now) for state in states}
    return next((word for word in WORST_FIRST if word in found), QUEUED)


def _word(one: State, now: datetime) -> str:
    if one.state == "cancelled":
        return "canceled"
    if one.state in WORST_FIRST:
        return one.state
    if one.state == "assigned":
        return SENT
    if one.tries:
        return DELAYED
    later = one.due_at is not None and one.due_at > now
    return SCHEDULED if later else QUEUED
